"""Policies that answer from a script, and a gateway of them on a port of this machine."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from copydesk.data.cost import EditCost
from copydesk.gateway.app import create_app
from copydesk.gateway.backends.base import BackendError, Json
from copydesk.gateway.config import GatewayConfig
from copydesk.store import EditStore

Script = Callable[[Json], "str | BackendError"]

SETTINGS = GatewayConfig(cost=EditCost(unit="word", cap=3.0), cooldown=0.2)


class Scripted:
    """Answers what its script says, one word a chunk; counts what it was asked and what it stopped."""

    def __init__(self, name: str, script: Script | None = None, pause: float = 0.0) -> None:
        self._name = name
        self.script: Script = script or (lambda request: f"{name} says {request['messages'][-1].get('content')}")
        self.pause = pause
        self.asked: list[Json] = []
        self.stopped = 0
        self.closed = False
        self.unreachable: BackendError | None = None

    @property
    def name(self) -> str:
        return self._name

    def _say(self, request: Json) -> str:
        self.asked.append(request)
        answer = self.script(request)
        if isinstance(answer, BackendError):
            raise answer
        return answer

    async def complete(self, request: Json) -> Json:
        try:
            text = self._say(request)
            await asyncio.sleep(self.pause)
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        message = {"role": "assistant", "content": text}
        return {
            "object": "chat.completion",
            "created": 1,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": len(text.split()), "total_tokens": 9},
        }

    async def stream(self, request: Json) -> AsyncIterator[Json]:
        done = False
        try:
            for delta in [{"role": "assistant", "content": ""}, *self._deltas(self._say(request))]:
                yield self._chunk(delta, None)
                await asyncio.sleep(self.pause)
            yield self._chunk({}, "stop")
            done = True
        finally:
            self.stopped += not done

    @staticmethod
    def _deltas(text: str) -> list[Json]:
        return [{"content": word if i == 0 else f" {word}"} for i, word in enumerate(text.split(" "))]

    @staticmethod
    def _chunk(delta: Json, finish: str | None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"object": "chat.completion.chunk", "created": 1, "choices": [choice]}

    async def check(self) -> None:
        if self.unreachable is not None:
            raise self.unreachable

    async def close(self) -> None:
        self.closed = True


class Opens:
    """Opens what it was given by name; for any other name a policy that repeats what it was asked."""

    def __init__(self, *policies: Scripted) -> None:
        self.policies = {policy.name: policy for policy in policies}

    async def open(self, name: str, spec: str) -> Scripted:
        return self.policies.setdefault(name, Scripted(name))

    async def close(self) -> None:
        pass


def app_of(store: EditStore | str, *policies: Scripted, **more: Any) -> FastAPI:
    """A gateway of these policies."""
    opened = EditStore.open(store) if isinstance(store, str) else store
    arms = {policy.name: f"script:{policy.name}" for policy in policies}
    return create_app(opened, arms, **{"config": SETTINGS, "opener": Opens(*policies), **more})


@contextlib.contextmanager
def running(app: Any, lifespan: str = "on") -> Iterator[str]:
    """An application on a free port, in a thread; gives its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan=lifespan))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        until(lambda: server.started or not thread.is_alive())
        yield url
    finally:
        server.should_exit = True
        thread.join()


def until(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What a condition gives once it holds."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)
    return found


def ask(client: httpx.Client, model: str = "copydesk", text: str = "hello", **more: Any) -> httpx.Response:
    """One completion."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return client.post("/v1/chat/completions", json=body)


def arms_of(client: httpx.Client, **query: Any) -> dict[str, Json]:
    """The arms by name, as the gateway shows them."""
    return {arm["name"]: arm for arm in client.get("/v1/ensemble", params=query).json()["arms"]}
