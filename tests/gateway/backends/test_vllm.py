"""Loading an adapter into vLLM, against a server that speaks its runtime LoRA API as documented.

https://docs.vllm.ai/en/latest/features/lora.html; vLLM itself does not run without a GPU.
"""

import asyncio
import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from tests.support.gateways import running

from copydesk.errors import InputError
from copydesk.gateway.backends import vllm
from copydesk.gateway.backends.open import BackendOpener
from copydesk.gateway.backends.vllm import load_adapter
from copydesk.gateway.config import GatewayConfig


class Vllm:
    """A base model and the adapters that were loaded; an adapter changes words, or only how likely they are."""

    def __init__(self, effect: str = "words", runtime: bool = True, refuses: str | None = None) -> None:
        self.effect, self.runtime, self.refuses = effect, runtime, refuses
        self.loaded: dict[str, str] = {}
        self.asked: list[str] = []

    async def models(self, request: Request) -> Response:
        data = [{"id": "base-model", "object": "model", "parent": None}]
        data += [{"id": name, "object": "model", "parent": "base-model"} for name in self.loaded]
        return JSONResponse({"object": "list", "data": data})

    async def load(self, request: Request) -> Response:
        body = await request.json()
        if self.refuses:
            return JSONResponse({"error": {"message": self.refuses}}, 400)
        self.loaded[body["lora_name"]] = body["lora_path"]
        return PlainTextResponse(f"Success: LoRA adapter '{body['lora_name']}' added successfully.")

    async def unload(self, request: Request) -> Response:
        del self.loaded[(await request.json())["lora_name"]]
        return PlainTextResponse("Success")

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body["model"])
        adapted = body["model"] in self.loaded
        text = "other words" if adapted and self.effect == "words" else "the same words"
        logprob = -0.9 if adapted and self.effect == "logprobs" else -0.5
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": "the", "logprob": logprob}]}
        return JSONResponse({"id": "x", "choices": [choice]})

    def app(self) -> Starlette:
        routes = [
            Route("/v1/models", self.models),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
        ]
        if self.runtime:
            routes.append(Route("/v1/load_lora_adapter", self.load, methods=["POST"]))
            routes.append(Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]))
        return Starlette(routes=routes)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "early-1"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("effect", ["words", "logprobs"])
def test_an_adapter_is_loaded_under_a_name_of_its_own_and_asked_for_by_it(adapter: Path, effect: str) -> None:
    server = Vllm(effect)
    with running(server.app()) as url:
        name = load_adapter("early", str(adapter), f"{url}/v1")
        assert server.loaded == {name: str(adapter)}
        assert name.startswith("early-")
        assert load_adapter("early", str(adapter), f"{url}/v1") == name  # it is there already
        (adapter / "adapter_model.safetensors").write_bytes(b"trained further")
        assert load_adapter("early", str(adapter), f"{url}/v1") != name

        async def through_the_opener() -> str:
            opener = BackendOpener(GatewayConfig())
            policy = await opener.open("early", f"vllm:{adapter}@{url}/v1")
            answer = await policy.complete({"messages": [{"role": "user", "content": "hi"}]})
            await policy.close()
            await opener.close()
            return str(answer["choices"][0]["message"]["content"])

        expected = "other words" if effect == "words" else "the same words"
        assert asyncio.run(through_the_opener()) == expected
        assert server.asked[-1] in server.loaded


def test_an_adapter_that_changes_nothing_does_not_become_an_arm(adapter: Path) -> None:
    server = Vllm("nothing")
    with running(server.app()) as url, pytest.raises(InputError, match="exactly as without it"):
        load_adapter("early", str(adapter), f"{url}/v1")
    assert server.loaded == {}


def test_a_server_without_the_runtime_api(adapter: Path) -> None:
    with running(Vllm(runtime=False).app()) as url, pytest.raises(InputError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        load_adapter("early", str(adapter), f"{url}/v1")


def test_a_server_that_refuses_it(adapter: Path) -> None:
    with (
        running(Vllm(refuses="rank 64 is above max_lora_rank").app()) as url,
        pytest.raises(InputError, match="rank 64"),
    ):
        load_adapter("early", str(adapter), f"{url}/v1")


def test_invalid_servers_and_folders_are_refused(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be reached"):
        load_adapter("early", str(adapter), "http://127.0.0.1:9/v1", timeout=2)
    with pytest.raises(InputError, match="no LoRA adapter"):
        load_adapter("early", str(tmp_path / "nothing"), "http://127.0.0.1:9/v1")
    stranger = Starlette(routes=[Route("/v1/models", lambda request: PlainTextResponse("hi"))])
    with running(stranger) as url, pytest.raises(InputError, match="not an OpenAI-compatible server"):
        load_adapter("early", str(adapter), f"{url}/v1")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(InputError, match="IA3"):
        load_adapter("early", str(adapter), "http://127.0.0.1:9/v1")


def test_a_server_whose_answer_drips_is_given_up_at_the_deadline(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the head of the answer arrives, where each byte comes in time."""

    def drip(listener: socket.socket) -> None:
        with listener.accept()[0] as client, contextlib.suppress(OSError):
            client.recv(65536)
            for byte in b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200:
                client.sendall(bytes([byte]))
                time.sleep(0.05)

    monkeypatch.setattr(vllm, "_DEADLINE_FACTOR", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=[listener], daemon=True).start()
        began = time.monotonic()
        with pytest.raises(InputError, match="did not answer in time"):
            load_adapter("early", str(adapter), f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout=1)
    assert time.monotonic() - began < 5
