"""Load a LoRA adapter into a running vLLM server, and check that it changes the answers."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx

from copydesk.errors import InputError

_PROBE_PROMPTS = (
    "Write a short, friendly reply to a customer whose parcel is late.",
    "Summarize in one sentence: The meeting was moved from Monday to Thursday because the room is being painted.",
    "List three things to check before sending an email.",
)
_PROBE_TOKENS = 24


def load_adapter(name: str, folder: str, base_url: str, api_key: str | None = None, timeout: float = 120.0) -> str:
    """Load an adapter under a unique name, and compare its answers with the base model's.

    The name holds a hash of the adapter's files, so it always means the same weights. vLLM must have been started
    with `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`
    (https://docs.vllm.ai/en/latest/features/lora.html), and must see the folder under the same path.

    Returns:
        The model name to ask the server for.

    Raises:
        InputError: the folder holds no adapter, the server refuses it, or its answers are those of the base model.
    """
    model = f"{name}-{_hash_adapter(folder)}"
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with httpx.Client(base_url=base_url.rstrip("/") + "/", headers=headers, timeout=timeout) as client:
        try:
            models = _read_models(client.get("models"))
            if model not in [one["id"] for one in models]:
                _load_on_server(client, model, folder)
            base = next((str(one["id"]) for one in models if not one.get("parent")), None)
            if base is None:
                raise InputError(f"{base_url}: the server names no base model to compare with")
            if all(_probe_model(client, model, probe) == _probe_model(client, base, probe) for probe in _PROBE_PROMPTS):
                client.post("unload_lora_adapter", json={"lora_name": model})
                raise InputError(
                    f"{folder}: with this adapter the server answers exactly as without it; the adapter is not "
                    "applied, or its training changed nothing"
                )
        except httpx.HTTPError as exc:
            raise InputError(f"{base_url}: the server cannot be reached ({exc}); check that it is running") from None
        except (ValueError, KeyError, TypeError, IndexError):
            raise InputError(f"{base_url}: not an OpenAI-compatible server; check the address") from None
    return model


def _load_on_server(client: httpx.Client, model: str, folder: str) -> None:
    answer = client.post("load_lora_adapter", json={"lora_name": model, "lora_path": str(Path(folder).resolve())})
    if answer.status_code == 404:
        raise InputError(
            f"{client.base_url}: the server does not load adapters; start vLLM with --enable-lora and "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
        )
    if answer.status_code != 200:
        raise InputError(f"{folder}: the server refused the adapter ({answer.text.strip()[:200]})")


def _probe_model(client: httpx.Client, model: str, probe: str) -> tuple[str, list[float]]:
    """The greedy answer, and its log-probabilities if the server returns them: texts alone can agree by chance."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": probe}],
        "temperature": 0,
        "max_tokens": _PROBE_TOKENS,
        "logprobs": True,
    }
    answer = client.post("chat/completions", json=body)
    answer.raise_for_status()
    choice = answer.json()["choices"][0]
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return str(choice["message"]["content"]), [round(float(one["logprob"]), 3) for one in tokens]


def _read_models(answer: httpx.Response) -> list[dict[str, Any]]:
    answer.raise_for_status()
    return list(answer.json()["data"])


def _hash_adapter(folder: str) -> str:
    """Eight hex digits of an adapter's weights and configuration."""
    path = Path(folder)
    files = sorted([*path.glob("adapter_config.json"), *path.glob("*.safetensors")])
    if len(files) < 2:
        raise InputError(f"{folder}: no LoRA adapter here; give a folder that `copydesk train` wrote")
    if "peft_type" in (config := json.loads(files[0].read_text())) and config["peft_type"] != "LORA":
        raise InputError(f"{folder}: vLLM loads LoRA adapters only, and this is {config['peft_type']}")
    total = hashlib.sha256()
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()[:8]
