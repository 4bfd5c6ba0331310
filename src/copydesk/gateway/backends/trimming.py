"""Cut the answers of any policy where they begin to repeat themselves, whole or streamed (`serve --trim-repeats`)."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from copydesk.data.repetition import RepeatTrimmer, trim_repeats
from copydesk.gateway.backends.base import Json, PolicyBackend

_KEPT_FINISH_REASONS = ("tool_calls", "function_call", "content_filter")


class TrimmedBackend:
    """A policy whose answers are cut where they begin to repeat; see `copydesk.data.repetition`.

    Only `content` is cut, of each choice by itself. Its finish reason becomes `length`: as at the token limit, the text
    is not what the model would have written to its end. A finish reason that tells the client what to do
    (`tool_calls`) or why there is no text (`content_filter`) stays, and so does everything else: tool calls, reasoning,
    log-probabilities (of all tokens, also of those cut off) and usage.

    Args:
        backend: the policy.
        length: the characters of a repeat, at least 1.
    """

    def __init__(self, backend: PolicyBackend, length: int) -> None:
        self._backend = backend
        self._length = length

    @property
    def name(self) -> str:
        """The policy's name as an arm and in the log."""
        return self._backend.name

    async def complete(self, request: Json) -> Json:
        """The whole `chat.completion` object; see `PolicyBackend`. The policy writes its answer to the end."""
        answer = await self._backend.complete(request)
        for choice in _list_choices(answer):
            message = choice.get("message")
            if not isinstance(message, dict) or not isinstance(text := message.get("content"), str):
                continue
            trimmed = await asyncio.to_thread(trim_repeats, text, self._length)
            if trimmed != text:
                choice["message"] = {**message, "content": trimmed}
                choice["finish_reason"] = _get_cut_reason(choice)
        return answer

    async def stream(self, request: Json) -> AsyncGenerator[Json]:
        """The `chat.completion.chunk` objects; see `PolicyBackend`.

        Text is delayed while it may be the beginning of a repeat. Once every choice has ended, and one of them was cut,
        the policy is stopped: its last chunks, which may have held the usage, do not come.
        """
        count = request.get("n")
        expected = count if isinstance(count, int) else 1
        trimmed: dict[str, _ChoiceTrimmer] = {}
        head: Json = {}
        chunks: Any = self._backend.stream(request)
        try:
            async for chunk in chunks:
                head = {key: chunk[key] for key in ("object", "created") if key in chunk}
                if self._trim_chunk(chunk, trimmed):
                    yield chunk
                ended = [choice for choice in trimmed.values() if choice.ended]
                if len(ended) >= max(expected, len(trimmed)) and any(choice.cut for choice in ended):
                    return
            for choice in trimmed.values():
                if rest := choice.flush():  # the server sent no finish reason
                    yield {**head, "choices": [rest]}
        finally:
            await chunks.aclose()

    async def check(self) -> None:
        """Check that the policy can be reached now; see `PolicyBackend`."""
        await self._backend.check()

    async def close(self) -> None:
        """Release connections and memory."""
        await self._backend.close()

    def _trim_chunk(self, chunk: Json, trimmed: "dict[str, _ChoiceTrimmer]") -> bool:
        """Trim a chunk in place; returns whether anything of it is left."""
        choices = _list_choices(chunk)
        left = []
        for choice in choices:
            index = choice.get("index", 0)
            trimmer = trimmed.setdefault(repr(index), _ChoiceTrimmer(index, self._length))
            if not trimmer.ended:
                trimmer.trim(choice)
                left.append(choice)
        if len(left) < len(choices):
            chunk["choices"] = left
        return bool(left or not choices or chunk.get("usage"))


class _ChoiceTrimmer:
    """Trims the deltas of one choice in place."""

    def __init__(self, index: Any, length: int) -> None:
        self.ended = False
        self._index = index
        self._trimmer = RepeatTrimmer(length)

    @property
    def cut(self) -> bool:
        return self._trimmer.repeating

    def trim(self, choice: Json) -> None:
        delta = choice.get("delta")
        fields = delta if isinstance(delta, dict) else {}
        text = fields.get("content")
        shown = self._trimmer.feed(text) if isinstance(text, str) else ""
        if self.cut:
            choice["finish_reason"] = _get_cut_reason(choice)
        self.ended = bool(choice.get("finish_reason"))
        if self.ended:
            shown += self._trimmer.finish()
        if shown or isinstance(text, str):
            choice["delta"] = {**fields, "content": shown}

    def flush(self) -> Json | None:
        """A choice with the text that is still held back."""
        rest = self._trimmer.finish()
        return {"index": self._index, "delta": {"content": rest}, "finish_reason": None} if rest else None


def _get_cut_reason(choice: Json) -> str:
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) and reason in _KEPT_FINISH_REASONS else "length"


def _list_choices(document: Json) -> list[Json]:
    choices = document.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
