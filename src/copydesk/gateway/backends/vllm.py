"""Load a LoRA adapter into a running vLLM server, and check that it changes the answers."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from copydesk.errors import InputError
from copydesk.upstream import (
    MAX_ERROR_BYTES,
    ReplyBody,
    ReplyLimits,
    ServedModel,
    UpstreamError,
    clean_line,
    parse_error,
    parse_model_list,
    parse_reply,
)

T = TypeVar("T")

_PROBE_PROMPTS = (
    "Write a short, friendly reply to a customer whose parcel is late.",
    "Summarize in one sentence: The meeting was moved from Monday to Thursday because the room is being painted.",
    "List three things to check before sending an email.",
)
_PROBE_TOKENS = 24
_DEADLINE_FACTOR = 5  # loading and six probes may take this many timeouts in all
_LIMITS = ReplyLimits(max_reply=1 << 20, max_answer=10_000)


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
    headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    base_url = base_url.rstrip("/")
    server = _VllmServer(base_url, headers, timeout, api_key)
    models = server.list_models()
    if model not in [one.id for one in models]:
        server.load(model, folder)
    base = next((one.id for one in models if not one.parent), None)
    if base is None:
        raise InputError(f"{base_url}: the server names no base model to compare with")
    if all(server.probe(model, text) == server.probe(base, text) for text in _PROBE_PROMPTS):
        server.send("POST", "unload_lora_adapter", {"lora_name": model})
        raise InputError(
            f"{folder}: with this adapter the server answers exactly as without it; the adapter is not "
            "applied, or its training changed nothing"
        )
    return model


class _VllmServer:
    """Requests to a vLLM server; every error of it is an `InputError` of one line without the key."""

    def __init__(self, url: str, headers: dict[str, str], timeout: float, api_key: str | None) -> None:
        self._url = url
        self._headers = headers
        self._timeout = timeout
        self._deadline = time.monotonic() + _DEADLINE_FACTOR * timeout
        self._api_key = api_key

    def list_models(self) -> list[ServedModel]:
        status, body = self.send("GET", "models")
        return self._parse(status, body, lambda: parse_model_list(body))

    def load(self, model: str, folder: str) -> None:
        asked = {"lora_name": model, "lora_path": str(Path(folder).resolve())}
        status, body = self.send("POST", "load_lora_adapter", asked)
        if status == 404:
            raise InputError(
                f"{self._url}: the server does not load adapters; start vLLM with --enable-lora and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
            )
        if status != 200:
            reason = parse_error(body).message or clean_line(body.decode("utf-8", "replace"))
            raise InputError(f"{folder}: the server refused the adapter ({self._redact(reason[:200])})")

    def probe(self, model: str, prompt: str) -> tuple[str, list[float]]:
        """The greedy answer, and its log-probabilities if the server returns them: texts alone can agree by chance."""
        asked = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": _PROBE_TOKENS,
            "logprobs": True,
        }
        status, body = self.send("POST", "chat/completions", asked)
        choice = self._parse(status, body, lambda: parse_reply(body, _LIMITS)["choices"][0])
        tokens = self._parse(status, body, lambda: _read_logprobs(choice))
        return str(choice["message"].get("content")), tokens

    def send(self, method: str, path: str, document: object = None) -> tuple[int, bytes]:
        """The status and the body of an answer, whose size and duration are bounded."""
        try:
            # In an event loop of its own: only a task can be given up while the head of an answer arrives.
            return asyncio.run(self._exchange(method, path, document))
        except TimeoutError:
            raise InputError(f"{self._url}: the server did not answer in time; check that it is running") from None
        except UpstreamError as exc:
            raise InputError(f"{self._url}: the server {self._redact(str(exc))}") from None
        except (httpx.HTTPError, ValueError) as exc:  # ValueError: httpx parses the target of a redirect
            # Its message may hold what the server sent.
            raise InputError(
                f"{self._url}: the server cannot be reached ({type(exc).__name__}); check that it is running"
            ) from None

    async def _exchange(self, method: str, path: str, document: object) -> tuple[int, bytes]:
        async with (
            asyncio.timeout(self._deadline - time.monotonic()),
            httpx.AsyncClient(headers=self._headers, timeout=self._timeout, follow_redirects=False) as client,
            client.stream(method, f"{self._url}/{path}", json=document) as response,
        ):
            limit = _LIMITS.max_reply if response.status_code == 200 else MAX_ERROR_BYTES
            body = ReplyBody(response.headers.get("content-encoding"), limit)
            async for piece in response.aiter_raw():
                body.add(piece)
            return response.status_code, body.finish()

    def _parse(self, status: int, body: bytes, parse: Callable[[], T]) -> T:
        if status != 200:
            reason = self._redact(parse_error(body).message)
            raise InputError(f"{self._url}: the server answered {status}" + (f": {reason}" if reason else ""))
        try:
            return parse()
        except UpstreamError as exc:
            raise InputError(
                f"{self._url}: not an OpenAI-compatible server; check the address (the server {self._redact(str(exc))})"
            ) from None

    def _redact(self, message: str) -> str:
        return message if self._api_key is None else message.replace(self._api_key, "***")


def _read_logprobs(choice: dict[str, Any]) -> list[float]:
    logprobs = choice.get("logprobs") or {}
    try:
        return [round(float(one["logprob"]), 3) for one in logprobs.get("content") or []]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UpstreamError("sent log-probabilities that do not fit") from None


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
