"""Proxy a policy to an OpenAI-compatible server: vLLM, `transformers serve`, a provider."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import getproxies

import aiohttp

from copydesk.gateway.backends.base import BackendError, Json

_RETRIABLE_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_MAX_LINE_BYTES = 1 << 20  # bytes of one chunk
_CHECK_TIMEOUT = 3.0  # seconds for the whole answer to `check`
_MAX_RETRY_DELAY = 10.0  # seconds between two attempts; if the server asks for more, the request fails


class ProxyBackend:
    """A model at a server; requests are passed on unchanged, with the model's name. Must be created in an event loop.

    A request that cannot have been begun, or is answered with a retriable status, is sent again after pauses that
    double. An answer that broke off is not retried: the client may have seen part of it.

    Args:
        name: the policy's name.
        model: the model's name at the server.
        base_url: of the server's API, such as `http://127.0.0.1:8000/v1`.
        api_key: sent as a bearer token.
        timeout: seconds without data from the server.
        retries: the most times a request is sent again.
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
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._models_url = base_url.rstrip("/") + "/models"
        self._session = aiohttp.ClientSession(
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {}),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(timeout, 10.0), sock_read=timeout),
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=bool(getproxies()),
            read_bufsize=_MAX_LINE_BYTES,
        )

    @property
    def name(self) -> str:
        """The policy's name as an arm and in the log."""
        return self._name

    async def complete(self, request: Json) -> Json:
        """The server's answer; see `PolicyBackend`."""
        async with self._open_response(request) as response:
            try:
                answer = json.loads(await response.read())
            except aiohttp.ClientError as exc:
                raise _to_connection_error(exc) from None
            except ValueError:
                raise BackendError(502, "the policy's server answered with something that is not JSON") from None
        if not isinstance(answer, dict) or not _has_choices(answer):
            raise BackendError(502, "the policy's server answered without choices")
        return answer

    async def stream(self, request: Json) -> AsyncIterator[Json]:
        """The server's chunks; see `PolicyBackend`."""
        finished = False
        async with self._open_response(request) as response:
            try:
                async for line in response.content:
                    if not line.startswith(b"data:"):
                        continue
                    data = line[5:].strip()
                    if data == b"[DONE]":
                        return
                    chunk = _parse_chunk(data)
                    finished = finished or _has_finish_reason(chunk)
                    yield chunk
            except (aiohttp.ClientError, ValueError) as exc:  # ValueError: a line is too long
                raise _to_connection_error(exc) from None
        if not finished:  # some servers omit [DONE], but none omits the finish reason
            raise BackendError(502, "the policy's server ended its stream before the answer did")

    async def check(self) -> None:
        """Check that the server answers, with any status below 500; see `PolicyBackend`. Its answer is not read."""
        limit = aiohttp.ClientTimeout(total=_CHECK_TIMEOUT)
        try:
            async with self._session.get(self._models_url, timeout=limit, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            raise _to_connection_error(exc) from None
        if status >= 500:
            raise BackendError(502, f"the policy's server answered {status}")

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    @asynccontextmanager
    async def _open_response(self, request: Json) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response with status 200, its body not read yet."""
        body = json.dumps({**request, "model": self._model}).encode()
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = await self._session.post(self._url, data=body, allow_redirects=False)
            except (aiohttp.ClientOSError, aiohttp.ConnectionTimeoutError, aiohttp.ServerDisconnectedError) as exc:
                # A kept connection that the server has closed raises this; an answer has not begun.
                if last:
                    raise _to_connection_error(exc) from None
                await asyncio.sleep(_compute_retry_delay(attempt))
                continue
            except aiohttp.ClientError as exc:
                raise _to_connection_error(exc) from None
            async with response:
                if response.status == 200:
                    yield response
                    return
                refused = await _parse_error_response(response)
            wait = _compute_retry_delay(attempt) if refused.retry_after is None else refused.retry_after
            if last or response.status not in _RETRIABLE_STATUSES or wait > _MAX_RETRY_DELAY:
                raise refused
            await asyncio.sleep(wait)


def _parse_chunk(data: bytes) -> Json:
    try:
        chunk = json.loads(data)
    except ValueError:
        raise BackendError(502, "the policy's server sent a chunk that is not JSON") from None
    if not isinstance(chunk, dict):
        raise BackendError(502, "the policy's server sent a chunk that is no object")
    if isinstance(chunk.get("error"), dict):
        raise BackendError(502, str(chunk["error"].get("message", "the policy's server broke off"))[:500])
    return chunk


def _has_finish_reason(chunk: Json) -> bool:
    choices = chunk.get("choices")
    found = choices if isinstance(choices, list) else []
    return any(isinstance(choice, dict) and choice.get("finish_reason") for choice in found)


def _has_choices(answer: Json) -> bool:
    choices = answer.get("choices")
    return isinstance(choices, list) and bool(choices) and isinstance(choices[0], dict)


async def _parse_error_response(response: aiohttp.ClientResponse) -> BackendError:
    """The error of a response other than 200: the request's for 400, 413 and 422, the server's for every other."""
    error: dict[str, Any] = {}
    try:
        document = json.loads(await response.read())
        found = document.get("error") if isinstance(document, dict) else None
        error = found if isinstance(found, dict) else {"message": str(found or document)}
    except (ValueError, aiohttp.ClientError):
        pass
    status = response.status
    request_invalid = status in (400, 413, 422)
    message = str(error.get("message") or f"the policy's server answered {status}")[:1000]
    given = response.headers.get("retry-after", "")
    retry_after = float(given) if given.replace(".", "", 1).isdecimal() else None
    code, param = error.get("code"), error.get("param")
    if not request_invalid and status != 429:
        # A wrong key or model at the server is not an error of the client's key or request.
        message, code, param = f"the policy's server answered {status}: {message}", None, None
    return BackendError(
        status if request_invalid or status == 429 else (504 if status == 504 else 502),
        message,
        retriable_elsewhere=not request_invalid,
        code=None if code is None else str(code),
        param=None if param is None else str(param),
        retry_after=retry_after,
    )


def _to_connection_error(error: Exception) -> BackendError:
    if isinstance(error, TimeoutError):
        return BackendError(504, "the policy's server did not answer in time")
    return BackendError(502, f"the policy's server cannot be reached ({type(error).__name__})")


def _compute_retry_delay(attempt: int) -> float:
    """Seconds to wait, randomised so that many clients do not retry at once."""
    return float(0.25 * 2**attempt * (0.5 + random.random()))
