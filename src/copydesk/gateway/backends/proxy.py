"""Proxy a policy to an OpenAI-compatible server: vLLM, `transformers serve`, a provider."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from copydesk.gateway.backends.base import BackendError, Json
from copydesk.upstream import (
    MAX_ERROR_BYTES,
    ChunkStream,
    ErrorReply,
    ReplyBody,
    ReplyLimits,
    UpstreamError,
    parse_error,
    parse_reply,
    parse_retry_after,
)

_RETRIABLE_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_CHECK_TIMEOUT = 3.0  # seconds for the whole answer to `check`
_MAX_RETRY_DELAY = 10.0  # seconds between two attempts; if the server asks for more, the request fails
_READ_BYTES = 1 << 16  # bytes of a body that wait to be read
_LARGE_BYTES = 1 << 20  # a larger reply is parsed in another thread
_CHUNKS_IN_A_ROW = 64  # chunks before other requests have a turn


class ProxyBackend:
    """A model at a server; requests are passed on unchanged, with the model's name. Must be created in an event loop.

    A request that cannot have been begun, or is answered with a retriable status, is sent again after pauses that
    double. An answer that broke off is not retried: the client may have seen part of it. Redirects are not followed.
    What the server sends is read by `copydesk.upstream`; whatever does not fit is a `BackendError`.

    Args:
        name: the policy's name.
        model: the model's name at the server.
        base_url: of the server's API, such as `http://127.0.0.1:8000/v1`.
        api_key: sent as a bearer token.
        timeout: seconds without data from the server.
        deadline: seconds for a whole answer, retries included.
        retries: the most times a request is sent again.
        limits: of what the server may send.
    """

    def __init__(
        self,
        name: str,
        model: str,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        deadline: float = 600.0,
        retries: int = 2,
        limits: ReplyLimits | None = None,
    ) -> None:
        self._name = name
        self._model = model
        self._retries = retries
        self._api_key = api_key
        self._timeout = timeout
        self._deadline = deadline
        self._limits = limits or ReplyLimits()
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._models_url = base_url.rstrip("/") + "/models"
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        self._session = aiohttp.ClientSession(
            headers=headers | ({"Authorization": f"Bearer {api_key}"} if api_key else {}),
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            # Not `trust_env`: it would also send passwords of a .netrc file.
            proxy=_find_proxy(base_url),
            read_bufsize=_READ_BYTES,
        )

    @property
    def name(self) -> str:
        """The policy's name as an arm and in the log."""
        return self._name

    async def complete(self, request: Json) -> Json:
        """The server's answer; see `PolicyBackend`."""
        async with self._open_response(request) as response:
            try:
                body = await _read_body(response, self._limits.max_reply)
                if len(body) > _LARGE_BYTES:
                    return await asyncio.to_thread(parse_reply, body, self._limits)
                return parse_reply(body, self._limits)
            except (aiohttp.ClientError, TimeoutError, UpstreamError) as exc:
                raise self._to_backend_error(exc) from None

    async def stream(self, request: Json) -> AsyncIterator[Json]:
        """The server's chunks; see `PolicyBackend`."""
        async with self._open_response(request) as response:
            try:
                chunks = ChunkStream(response.headers.get("content-encoding"), self._limits)
                count = 0
                async for piece in response.content.iter_any():
                    for chunk in chunks.add(piece):
                        yield chunk
                        count += 1
                        if count % _CHUNKS_IN_A_ROW == 0:
                            await asyncio.sleep(0)
                    if chunks.done:
                        return
                for chunk in chunks.finish():
                    yield chunk
            except (aiohttp.ClientError, TimeoutError, UpstreamError) as exc:
                raise self._to_backend_error(exc) from None

    async def check(self) -> None:
        """Check that the server answers, with any status below 500; see `PolicyBackend`. Its answer is not read."""
        limit = aiohttp.ClientTimeout(total=_CHECK_TIMEOUT)
        try:
            async with self._session.get(self._models_url, timeout=limit, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            raise self._to_backend_error(exc) from None
        if status >= 500:
            raise BackendError(502, f"the policy's server answered {status}")

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    @asynccontextmanager
    async def _open_response(self, request: Json) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response with status 200, its body not read yet."""
        body = json.dumps({**request, "model": self._model}).encode()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._deadline
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            limit = aiohttp.ClientTimeout(
                total=max(end - loop.time(), 0.001), sock_connect=min(self._timeout, 10.0), sock_read=self._timeout
            )
            try:
                response = await self._session.post(self._url, data=body, allow_redirects=False, timeout=limit)
            except (aiohttp.ClientOSError, aiohttp.ConnectionTimeoutError, aiohttp.ServerDisconnectedError) as exc:
                # A kept connection that the server has closed raises this; an answer has not begun.
                wait = _compute_retry_delay(attempt)
                if last or wait > end - loop.time():
                    raise self._to_backend_error(exc) from None
                await asyncio.sleep(wait)
                continue
            except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
                raise self._to_backend_error(exc) from None
            async with response:
                if response.status == 200:
                    yield response
                    return
                refused = await self._read_error_response(response)
            wait = _compute_retry_delay(attempt) if refused.retry_after is None else refused.retry_after
            if last or response.status not in _RETRIABLE_STATUSES or wait > min(_MAX_RETRY_DELAY, end - loop.time()):
                raise refused
            await asyncio.sleep(wait)

    async def _read_error_response(self, response: aiohttp.ClientResponse) -> BackendError:
        """The error of a response other than 200: the request's for 400, 413 and 422, the server's for every other."""
        error = ErrorReply("")
        with suppress(aiohttp.ClientError, TimeoutError, UpstreamError):
            error = parse_error(await _read_body(response, MAX_ERROR_BYTES))
        status = response.status
        request_invalid = status in (400, 413, 422)
        message, code, param = error
        if not message:
            message = f"the policy's server answered {status}"
        elif not request_invalid and status != 429:
            message = f"the policy's server answered {status}: {message}"
        if not request_invalid and status != 429:
            code = param = None  # a wrong key or model at the server is not an error of the client's key or request
        return BackendError(
            status if request_invalid or status == 429 else (504 if status == 504 else 502),
            self._redact(message),
            retriable_elsewhere=not request_invalid,
            code=None if code is None else self._redact(code),
            param=None if param is None else self._redact(param),
            retry_after=parse_retry_after(response.headers),
        )

    def _to_backend_error(self, exc: Exception) -> BackendError:
        if isinstance(exc, UpstreamError):
            return BackendError(502, self._redact(f"the policy's server {exc}"))
        if isinstance(exc, TimeoutError):
            return BackendError(504, "the policy's server did not answer in time")
        return BackendError(502, f"the policy's server cannot be reached ({type(exc).__name__})")

    def _redact(self, message: str) -> str:
        return message if self._api_key is None else message.replace(self._api_key, "***")


async def _read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = ReplyBody(response.headers.get("content-encoding"), limit)
    async for piece in response.content.iter_any():
        body.add(piece)
    return body.finish()


def _find_proxy(url: str) -> str | None:
    """The HTTP proxy that the environment names for a URL."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    return proxy if proxy and not proxy_bypass(parts.hostname or "") else None


def _compute_retry_delay(attempt: int) -> float:
    """Seconds to wait, randomised so that many clients do not retry at once."""
    return float(0.25 * 2**attempt * (0.5 + random.random()))
