"""A policy at a server with OpenAI's API: vLLM, Ollama, `transformers serve`, a provider."""

import asyncio
import hashlib
import json
import random
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING, Any

from copydesk.data.record import Context
from copydesk.errors import InputError
from copydesk.policies.base import PolicyResponse, Sampling
from copydesk.policy_spec import Origin, list_api_key_variables
from copydesk.upstream import (
    MAX_ERROR_BYTES,
    ReplyBody,
    ReplyLimits,
    UpstreamError,
    clean_line,
    parse_error,
    parse_reply,
    parse_retry_after,
)

if TYPE_CHECKING:
    import httpx

_RETRIABLE_STATUSES = {408, 409, 425, 429}  # and those from 500
_MAX_RETRY_DELAY = 60.0  # seconds between two attempts; if the server asks for more, the request fails


@dataclass
class Usage:
    """The use of a server so far: answered requests, retries, and the tokens that the server counted."""

    requests: int = 0
    retried: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class OpenAIPolicy:
    """A model at an OpenAI-compatible server, with several requests at a time.

    A request that cannot be sent, is not answered in time, or is answered with a retriable status (408, 409, 429, 5xx)
    is sent again after pauses that double, or after the pause that the server asks for. The first request that fails
    permanently cancels the rest. Redirects are not followed. What the server sends is read by `copydesk.upstream`.

    Args:
        name: the policy's name.
        model: the model's name at the server.
        url: where the server's API begins, such as `https://api.openai.com/v1`.
        api_key: sent as a bearer token; `None` for a server that needs none.
        concurrency: the most requests that run at a time.
        retries: the most times a request is sent again.
        timeout: seconds without data from the server.
        deadline: seconds for a whole answer, without retries.
        limits: of what the server may send.

    Attributes:
        usage: the requests and tokens so far.

    Raises:
        InputError: the `httpx` package is missing, or an argument is invalid.
    """

    def __init__(
        self,
        name: str,
        model: str,
        url: str,
        *,
        api_key: str | None = None,
        concurrency: int = 8,
        retries: int = 5,
        timeout: float = 120.0,
        deadline: float = 600.0,
        limits: ReplyLimits | None = None,
    ) -> None:
        _import_httpx()
        try:
            Origin.of(url)
        except InputError as exc:
            raise InputError(f"{name}: {exc}") from None
        if api_key is not None and not (api_key and all("!" <= letter <= "~" for letter in api_key)):
            raise InputError(
                f"{name}: the server's key is empty or holds a space or a letter that no key has; check it"
            )
        if concurrency < 1 or retries < 0 or not (timeout > 0 and deadline > 0):
            raise InputError(
                f"{name}: concurrency must be at least 1, retries at least 0, timeout and deadline above 0"
            )
        self.name = name
        self.model = model
        self.url = url
        self.usage = Usage()
        self._api_key = api_key
        self._concurrency = concurrency
        self._retries = retries
        self._timeout = timeout
        self._deadline = deadline
        self._limits = limits or ReplyLimits()

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context; see `stream`."""
        return [answer.text for answer in self.collect_responses(contexts, seeds, sampling)]

    def collect_responses(
        self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[PolicyResponse]:
        """One answer for each context; see `stream`."""
        with closing(self.stream(contexts, seeds, sampling)) as arriving:
            found = dict(arriving)
        return [found[row] for row in range(len(contexts))]

    def stream(
        self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> Generator[tuple[int, PolicyResponse]]:
        """The answers with the index of their context, in the order of arrival.

        `seeds[i]` is hashed to the integer seed of the i-th request; whether that makes the answer reproducible depends
        on the server. A text is sent as one user message. Shows a progress bar on a terminal. Closing the generator, or
        an interrupt, cancels the running requests.

        Raises:
            InputError: the server cannot be reached, or refuses.
        """
        from tqdm.auto import tqdm  # type: ignore[import-untyped]

        if not contexts:
            return
        # The requests run in a thread of their own: the caller's thread may have a running event loop, and a signal is
        # raised in the main thread, where an event loop might swallow it in a callback.
        arrived: SimpleQueue[tuple[int, PolicyResponse] | None] = SimpleQueue()
        rows = iter(enumerate(zip(contexts, seeds, strict=True)))
        loop = asyncio.new_event_loop()
        asking = loop.create_task(self._ask_all(rows, sampling, min(self._concurrency, len(contexts)), arrived.put))

        def run() -> None:
            try:
                loop.run_until_complete(asyncio.wait([asking]))
                loop.run_until_complete(loop.shutdown_asyncgens())
            finally:
                arrived.put(None)

        thread = Thread(target=run, name=f"{self.name} answers", daemon=True)
        try:
            thread.start()
            with tqdm(
                total=len(contexts), desc=f"{self.name} answers", leave=False, disable=not sys.stderr.isatty()
            ) as bar:
                while (one := arrived.get()) is not None:
                    yield one
                    bar.update()
            asking.result()
        finally:
            loop.call_soon_threadsafe(asking.cancel)
            thread.join()
            loop.close()

    async def _ask_all(
        self,
        rows: Iterator[tuple[int, tuple[Context, Sequence[int]]]],
        sampling: Sampling,
        workers: int,
        put: Callable[[tuple[int, PolicyResponse]], None],
    ) -> None:
        httpx = _import_httpx()
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        client = httpx.AsyncClient(
            headers=headers | ({"authorization": f"Bearer {self._api_key}"} if self._api_key else {}),
            timeout=self._timeout,
            limits=httpx.Limits(max_connections=None),
            follow_redirects=False,
        )

        async def work() -> None:
            for row, (context, seed) in rows:
                put((row, await self._ask(client, context, seed, sampling)))

        async with client:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(work())
            except BaseExceptionGroup as exc:
                raise exc.exceptions[0] from None

    async def _ask(
        self, client: "httpx.AsyncClient", context: Context, seed: Sequence[int], sampling: Sampling
    ) -> PolicyResponse:
        body = {
            "model": self.model,
            "messages": _to_messages(context),
            "seed": fold_seed(seed),
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_new_tokens,
        }
        request = json.dumps(body).encode()
        for attempt in range(self._retries + 1):
            try:
                return (await self._post(client, request, attempt)).trim(sampling.trim_repeats)
            except _ServerError as exc:
                wait = min(0.5 * 2**attempt, 8.0) * (1 - random.random() / 4)
                wait = wait if exc.retry_after is None else exc.retry_after
                if attempt == self._retries or not exc.retriable or wait > _MAX_RETRY_DELAY:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _post(self, client: "httpx.AsyncClient", request: bytes, attempt: int) -> PolicyResponse:
        """Send a request once."""
        httpx = _import_httpx()
        url = self.url.rstrip("/") + "/chat/completions"
        try:
            async with asyncio.timeout(self._deadline), client.stream("POST", url, content=request) as response:
                status = response.status_code
                limit = self._limits.max_reply if status == 200 else MAX_ERROR_BYTES
                reply = ReplyBody(response.headers.get("content-encoding"), limit)
                async for piece in response.aiter_raw():
                    reply.add(piece)
                content = reply.finish()
            if status != 200:
                reason = parse_error(content).message or clean_line(content.decode("utf-8", "replace"))
                reason = f"the server answered {status}" + (f": {reason}" if reason else "")
                raise self._build_error(reason, status, retry_after=parse_retry_after(response.headers))
            document = parse_reply(content, self._limits)
        except (httpx.TimeoutException, TimeoutError):
            reason = f"no answer within {self._timeout:g} s; allow more, or ask for less at a time"
            raise self._build_error(reason, retriable=True) from None
        except (httpx.HTTPError, ValueError) as exc:  # ValueError: httpx parses the target of a redirect
            reason = f"cannot be reached ({type(exc).__name__}); is it running there?"
            raise self._build_error(reason, retriable=True) from None
        except UpstreamError as exc:
            reason = f"no chat completion (the server {exc}); does its API begin at this address?"
            raise self._build_error(reason) from None
        self.usage.requests += 1
        self.usage.retried += attempt
        usage = document.get("usage") or {}
        self.usage.prompt_tokens += usage.get("prompt_tokens") or 0
        self.usage.completion_tokens += usage.get("completion_tokens") or 0
        return _make_response(document["choices"][0])

    def _build_error(
        self, reason: str, status: int = 0, *, retriable: bool = False, retry_after: float | None = None
    ) -> "_ServerError":
        fix = {
            401: f"; set {' or '.join(list_api_key_variables(self.name, self.url))} to a key it takes",
            404: "; check the model's name, and that its API begins at this address",
            429: "; ask for less at a time",
        }.get(status, "")
        line = " ".join(f"{self.name}: {self.model} at {self.url}: {reason}".split())
        if self._api_key is not None:
            line = line.replace(self._api_key, "***")
        return _ServerError(line + fix, retriable or status in _RETRIABLE_STATUSES or status >= 500, retry_after)


class _ServerError(InputError):
    """A request that failed, whether it may be sent again, and the seconds after which the server wants it."""

    def __init__(self, message: str, retriable: bool, retry_after: float | None) -> None:
        super().__init__(message)
        self.retriable = retriable
        self.retry_after = retry_after


def fold_seed(seed: Sequence[int]) -> int:
    """Hash a seed of several integers to 31 bits, which every server accepts; the same on every machine."""
    digest = hashlib.sha256(json.dumps([int(part) for part in seed]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _import_httpx() -> ModuleType:
    """Import it with the first such policy: it takes a fifth of a second."""
    try:
        import httpx
    except ModuleNotFoundError as exc:
        raise InputError(
            f"a policy behind a server needs {exc.name}; install it with: pip install 'copydesk[llm]'"
        ) from None
    return httpx


def _to_messages(context: Context) -> list[dict[str, object]]:
    if isinstance(context, str):
        return [{"role": "user", "content": context}]
    return [message.model_dump() for message in context]


def _make_response(choice: dict[str, Any]) -> PolicyResponse:
    content = choice["message"].get("content") or ""
    text = content if isinstance(content, str) else "\n".join(part.get("text") or "" for part in content)
    return PolicyResponse(text, choice.get("finish_reason") == "length")
