"""A policy behind another OpenAI-compatible server: vLLM, `transformers serve`, a provider."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from copydesk.gateway.serving.policy import Json, PolicyFault

_BUSY = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_MOST_WAITED = 10.0  # seconds between two attempts; who asks for more is left alone


class RemotePolicy:
    """A model name at a server; requests are passed on as they are, with that name.

    What cannot have been begun, or is answered with a status that says to come back, is sent again, with pauses that
    double. What broke off in the middle is not: the client may have seen part of it.

    Args:
        name: the policy's name.
        model: the name the server knows it by.
        base_url: of the server's API, such as `http://127.0.0.1:8000/v1`.
        api_key: sent as a bearer token.
        timeout: seconds the server may be silent.
        retries: how often a request is sent again.
    """

    def __init__(
        self,
        name: str,
        model: str,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        retries: int = 2,
    ) -> None:
        self._name = name
        self._model = model
        self._retries = retries
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
        )

    @property
    def name(self) -> str:
        """The name it has as an arm and in the log."""
        return self._name

    async def complete(self, request: Json) -> Json:
        """The server's answer; see `ServedPolicy`."""
        async with self._answer(request) as response:
            try:
                answer = json.loads(await response.aread())
            except httpx.HTTPError as fault:
                raise _unreachable(fault) from None
            except ValueError:
                raise PolicyFault(502, "the policy's server answered with something that is not JSON") from None
        if not isinstance(answer, dict) or not _choices(answer):
            raise PolicyFault(502, "the policy's server answered without choices")
        return answer

    async def stream(self, request: Json) -> AsyncIterator[Json]:
        """The server's chunks; see `ServedPolicy`."""
        finished = False
        async with self._answer(request) as response:
            try:
                async for line in response.aiter_lines():
                    if not line.startswith("data:"):
                        continue
                    data = line[5:].strip()
                    if data == "[DONE]":
                        return
                    chunk = _chunk(data)
                    finished = finished or _finishes(chunk)
                    yield chunk
            except httpx.HTTPError as fault:
                raise _unreachable(fault) from None
        if not finished:  # some servers leave out [DONE], but none the reason why the answer ended
            raise PolicyFault(502, "the policy's server ended its stream before the answer did")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _answer(self, request: Json) -> AsyncIterator[httpx.Response]:
        """An answer that begins well, its body not read yet."""
        body = json.dumps({**request, "model": self._model}).encode()
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                sent = self._client.build_request(
                    "POST", "chat/completions", content=body, headers={"Content-Type": "application/json"}
                )
                response = await self._client.send(sent, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.WriteError) as fault:
                # A kept connection that the server closed meanwhile looks like this; an answer has not begun.
                if last:
                    raise _unreachable(fault) from None
                await asyncio.sleep(_pause(attempt))
                continue
            except httpx.HTTPError as fault:
                raise _unreachable(fault) from None
            try:
                if response.status_code == 200:
                    yield response
                    return
                fault_ = await _refused(response)
            finally:
                await response.aclose()
            wait = _pause(attempt) if fault_.retry_after is None else fault_.retry_after
            if last or response.status_code not in _BUSY or wait > _MOST_WAITED:
                raise fault_
            await asyncio.sleep(wait)


def _chunk(data: str) -> Json:
    try:
        chunk = json.loads(data)
    except ValueError:
        raise PolicyFault(502, "the policy's server sent a chunk that is not JSON") from None
    if not isinstance(chunk, dict):
        raise PolicyFault(502, "the policy's server sent a chunk that is no object")
    if isinstance(chunk.get("error"), dict):
        raise PolicyFault(502, str(chunk["error"].get("message", "the policy's server broke off"))[:500])
    return chunk


def _finishes(chunk: Json) -> bool:
    choices = chunk.get("choices")
    found = choices if isinstance(choices, list) else []
    return any(isinstance(choice, dict) and choice.get("finish_reason") for choice in found)


def _choices(answer: Json) -> bool:
    choices = answer.get("choices")
    return isinstance(choices, list) and bool(choices) and isinstance(choices[0], dict)


async def _refused(response: httpx.Response) -> PolicyFault:
    """What an answer other than 200 says. The request is to blame for 400, 413 and 422, the server for the rest."""
    error: dict[str, Any] = {}
    try:
        document = json.loads(await response.aread())
        found = document.get("error") if isinstance(document, dict) else None
        error = found if isinstance(found, dict) else {"message": str(found or document)}
    except (ValueError, httpx.HTTPError):
        pass
    status = response.status_code
    blame = status in (400, 413, 422)
    message = str(error.get("message") or f"the policy's server answered {status}")[:1000]
    given = response.headers.get("retry-after", "")
    retry_after = float(given) if given.replace(".", "", 1).isdecimal() else None
    code, param = error.get("code"), error.get("param")
    if not blame and status != 429:
        # A wrong key or a missing model there is no fault of this client's key or request.
        message, code, param = f"the policy's server answered {status}: {message}", None, None
    return PolicyFault(
        status if blame or status == 429 else (504 if status == 504 else 502),
        message,
        at_fault=not blame,
        code=None if code is None else str(code),
        param=None if param is None else str(param),
        retry_after=retry_after,
    )


def _unreachable(fault: httpx.HTTPError) -> PolicyFault:
    if isinstance(fault, httpx.TimeoutException):
        return PolicyFault(504, "the policy's server did not answer in time")
    return PolicyFault(502, f"the policy's server cannot be reached ({type(fault).__name__})")


def _pause(attempt: int) -> float:
    """Seconds to wait; drawn at random, so that many clients do not come back at once."""
    return float(0.25 * 2**attempt * (0.5 + random.random()))
