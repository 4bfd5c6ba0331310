"""A policy at a server with OpenAI's API: vLLM, Ollama, `transformers serve`, a provider."""

import asyncio
import hashlib
import json
import re
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING

from copydesk.data.record import Context
from copydesk.errors import InputError
from copydesk.policies.base import PolicyResponse, Sampling
from copydesk.policy_spec import list_api_key_variables

if TYPE_CHECKING:
    from openai import AsyncOpenAI


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
    permanently cancels the rest.

    Args:
        name: the policy's name.
        model: the model's name at the server.
        url: where the server's API begins, such as `https://api.openai.com/v1`.
        api_key: sent as a bearer token; `None` for a server that needs none.
        concurrency: the most requests that run at a time.
        retries: the most times a request is sent again.
        timeout: seconds without data from the server.

    Attributes:
        usage: the requests and tokens so far.

    Raises:
        InputError: the `openai` package is missing, or an argument is invalid.
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
    ) -> None:
        _import_openai()
        if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", url):
            raise InputError(f"{name}: {url!r} is not a server's address; give one such as http://127.0.0.1:8000/v1")
        if api_key is not None and not re.fullmatch(r"[!-~]+", api_key):
            raise InputError(
                f"{name}: the server's key is empty or holds a space or a letter that no key has; check it"
            )
        if concurrency < 1 or retries < 0 or not timeout > 0:
            raise InputError(f"{name}: concurrency must be at least 1, retries at least 0 and timeout above 0")
        self.name = name
        self.model = model
        self.url = url
        self.usage = Usage()
        self._api_key = api_key
        self._concurrency = concurrency
        self._retries = retries
        self._timeout = timeout

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
        client = _import_openai().AsyncOpenAI(
            api_key=self._api_key or "none",  # the package requires one; a server without keys ignores it
            base_url=self.url,
            max_retries=self._retries,
            timeout=self._timeout,
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
        self, client: "AsyncOpenAI", context: Context, seed: Sequence[int], sampling: Sampling
    ) -> PolicyResponse:
        openai = _import_openai()
        try:
            raw = await client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=_to_messages(context),  # type: ignore[arg-type]
                seed=fold_seed(seed),
                temperature=sampling.temperature,
                max_tokens=sampling.max_new_tokens,
            )
            completion = raw.parse()
        except openai.APIStatusError as exc:
            raise self._build_error(_format_server_error(exc.status_code, exc.body), exc.status_code) from None
        except openai.APITimeoutError:
            raise self._build_error(
                f"no answer within {self._timeout:g} s; allow more, or ask for less at a time"
            ) from None
        except openai.APIConnectionError as exc:
            raise self._build_error(f"cannot be reached ({_name_cause(exc)}); is it running there?") from None
        except ValueError:
            completion = None  # the body is not JSON
        choices = getattr(completion, "choices", None)
        if completion is None or not choices:
            error = getattr(completion, "error", None)  # some servers send errors with status 200
            raise self._build_error(
                _format_server_error(200, error) if error else "no chat completion; does its API begin at this address?"
            )
        self.usage.requests += 1
        self.usage.retried += raw.retries_taken
        if completion.usage is not None:
            self.usage.prompt_tokens += completion.usage.prompt_tokens or 0
            self.usage.completion_tokens += completion.usage.completion_tokens or 0
        # JSON may hold half of a surrogate pair, which no file can store.
        text = (choices[0].message.content or "").encode("utf-8", "replace").decode()
        return PolicyResponse(text, choices[0].finish_reason == "length").trim(sampling.trim_repeats)

    def _build_error(self, reason: str, status: int = 0) -> InputError:
        fix = {
            401: f"; set {' or '.join(list_api_key_variables(self.name, self.url))} to a key it takes",
            404: "; check the model's name, and that its API begins at this address",
            429: "; ask for less at a time",
        }.get(status, "")
        line = " ".join(f"{self.name}: {self.model} at {self.url}: {reason}".split())
        if self._api_key is not None:
            line = line.replace(self._api_key, "***")
        return InputError(line + fix)


def fold_seed(seed: Sequence[int]) -> int:
    """Hash a seed of several integers to 31 bits, which every server accepts; the same on every machine."""
    digest = hashlib.sha256(json.dumps([int(part) for part in seed]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _import_openai() -> ModuleType:
    """Import it with the first such policy: it takes a second."""
    try:
        import openai
    except ModuleNotFoundError as exc:
        raise InputError(
            f"a policy behind a server needs {exc.name}; install it with: pip install 'copydesk[llm]'"
        ) from None
    return openai


def _to_messages(context: Context) -> list[dict[str, object]]:
    if isinstance(context, str):
        return [{"role": "user", "content": context}]
    return [message.model_dump() for message in context]


def _format_server_error(status: int, body: object) -> str:
    """A server's error message, in the formats that servers use."""
    reason = body
    if isinstance(body, dict):
        reason = body.get("message") or body.get("error") or body.get("detail") or body
    return f"the server answered {status}: {str(reason)[:500]}" if reason else f"the server answered {status}"


def _name_cause(error: BaseException) -> str:
    """The class of an exception's cause; its message may hold what was sent."""
    return type(error.__cause__ or error).__name__
