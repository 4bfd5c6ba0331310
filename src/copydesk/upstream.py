"""Read what a model server sends: bounded in size, validated by one strict model, and cleaned of unstorable characters.

A server that a policy names is not trusted. Its replies, chunks, errors and model lists are read here and nowhere else.
Keys that the model does not name pass through unchanged. Whatever does not fit is an `UpstreamError`.
"""

import calendar
import email.utils
import json
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from copydesk.data.strict_json import is_storable_number

Document = dict[str, Any]
M = TypeVar("M", bound=BaseModel)

MAX_ERROR_BYTES = 64 << 10
"""Largest body of an error that is read."""
MAX_RETRY_AFTER = 86_400.0
"""Longest `Retry-After` that is believed, in seconds."""

_MAX_DEPTH = 64  # lists and objects within each other
_MAX_LINE_BYTES = 1 << 20  # of one server-sent event
_MAX_IDLE_BYTES = 1 << 20  # of comments and blank lines between two chunks
_MAX_BYTES_AFTER_END = 1 << 20  # of chunks after the one that ends the answer
_STREAM_FACTOR = 16  # a stream may have this many times the bytes of a whole reply: each token repeats the frame
_MAX_VALUES = 1 << 21  # brackets and commas in a document, which bound the objects it becomes
_BLOCK_BYTES = 1 << 18  # decompressed at a time
_MAX_MESSAGE = 500  # characters of an error's message

_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPED_NOT_STORABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_NOT_PRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]+"
)
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")


class UpstreamError(Exception):
    """A server sent something that does not fit; the message goes on after "the server"."""


@dataclass(frozen=True)
class ReplyLimits:
    """Limits on what a server may send.

    Attributes:
        max_reply: bytes of a whole reply after decompression; a stream may have 16 times as many.
        max_answer: characters of the answer's text.
    """

    max_reply: int = 16 << 20
    max_answer: int = 1_000_000


class ErrorReply(NamedTuple):
    """A server's error: one printable line, which may be empty, and OpenAI's code and parameter if they are words."""

    message: str
    code: str | None = None
    param: str | None = None


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class ServedModel(_Strict):
    """A model in a server's list; `parent` is the base of an adapter."""

    id: Annotated[str, Field(min_length=1, max_length=1024)]
    parent: str | None = None


_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{0,64}$")]
_Index = Annotated[int, Field(ge=0, lt=128)]
_TokenCount = Annotated[int, Field(ge=0, le=2**31)]


class _Function(_Strict):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(_Strict):
    index: _Index | None = None
    id: str | None = None
    type: _Word | None = None
    function: _Function | None = None


class _ContentPart(_Strict):
    type: _Word | None = None
    text: str | None = None


class _Message(_Strict):
    role: _Word | None = None
    content: str | list[_ContentPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None

    def count_characters(self) -> int:
        if isinstance(self.content, list):
            return sum(len(part.text or "") for part in self.content)
        return len(self.content or "")


class _Choice(_Strict):
    index: _Index = 0
    message: _Message
    finish_reason: _Word | None = None


class _ChunkChoice(_Strict):
    index: _Index = 0
    delta: _Message | None = None
    finish_reason: _Word | None = None


class _Usage(_Strict):
    prompt_tokens: _TokenCount | None = None
    completion_tokens: _TokenCount | None = None
    total_tokens: _TokenCount | None = None


class _Reply(_Strict):
    choices: Annotated[list[_Choice], Field(min_length=1, max_length=128)]
    usage: _Usage | None = None


class _Chunk(_Strict):
    choices: Annotated[list[_ChunkChoice], Field(max_length=128)] | None = None
    usage: _Usage | None = None


class _ModelList(_Strict):
    data: Annotated[list[ServedModel], Field(max_length=10_000)]


def parse_reply(body: bytes, limits: ReplyLimits) -> Document:
    """The `chat.completion` in a body.

    Raises:
        UpstreamError: the body is something else, or it is beyond a limit.
    """
    document = _parse_object(body, "a reply")
    _reject_error(document)
    reply = _validate(_Reply, document, "a reply")
    if sum(choice.message.count_characters() for choice in reply.choices) > limits.max_answer:
        raise UpstreamError(f"sent an answer of more than {limits.max_answer} characters")
    return document


def parse_model_list(body: bytes) -> list[ServedModel]:
    """The models in the body of `GET /models`.

    Raises:
        UpstreamError: the body is something else.
    """
    return _validate(_ModelList, _parse_object(body, "a model list"), "a model list").data


def parse_error(body: bytes) -> ErrorReply:
    """The error in a body, in the formats that servers use; never raises."""
    try:
        return _read_error(_parse_json(body, "an error"))
    except UpstreamError:
        return ErrorReply("")


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that `retry-after-ms` or `Retry-After` (seconds or an HTTP date) ask for, from 0 to a day.

    `None` if there is neither, or if they are something else.
    """
    for header, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(header, "").strip(" \t")
        if _SECONDS.fullmatch(value):
            return min(float(value) / divisor, MAX_RETRY_AFTER)
    if _HTTP_DATE.fullmatch(value) and (date := email.utils.parsedate(value)) is not None:
        try:
            return min(max(calendar.timegm(date) - time.time(), 0.0), MAX_RETRY_AFTER)
        except (ValueError, OverflowError):
            return None
    return None


def clean_line(text: str, limit: int = _MAX_MESSAGE) -> str:
    """A text as one line that is safe to print and to log: without control and direction characters, and cut."""
    return " ".join(_NOT_PRINTABLE.sub(" ", text[: 4 * limit]).split())[:limit]


class ReplyBody:
    """Collects the body of a response piece by piece.

    Args:
        encoding: its `Content-Encoding`.
        limit: the most bytes, before and after decompression.

    Raises:
        UpstreamError: the encoding was not asked for; and from every method, if the body does not fit.
    """

    def __init__(self, encoding: str | None, limit: int) -> None:
        self._decoder = _ContentDecoder(encoding, limit)
        self._body = bytearray()

    def add(self, piece: bytes) -> None:
        """Add a piece as it was received."""
        for block in self._decoder.decode(piece):
            self._body += block

    def finish(self) -> bytes:
        """The whole body, decompressed."""
        self._decoder.finish()
        return bytes(self._body)


class ChunkStream:
    """Reads the `chat.completion.chunk` objects of a stream of server-sent events.

    Args:
        encoding: its `Content-Encoding`.
        limits: of the server's replies.

    Attributes:
        done: whether `[DONE]` was received; later bytes are ignored.

    Raises:
        UpstreamError: as `ReplyBody`.
    """

    def __init__(self, encoding: str | None, limits: ReplyLimits) -> None:
        self.done = False
        self._limits = limits
        self._decoder = _ContentDecoder(encoding, limits.max_reply * _STREAM_FACTOR)
        self._line = bytearray()
        self._idle_bytes = self._bytes_after_end = self._characters = 0
        self._begun = self._ended = False

    def add(self, piece: bytes) -> Iterator[Document]:
        """The chunks that a piece of the body completes."""
        for block in self._decoder.decode(piece):
            begin = 0
            while (end := block.find(b"\n", begin)) >= 0:
                line = bytes(self._line) + block[begin:end] if self._line else block[begin:end]
                self._line.clear()
                begin = end + 1
                if (chunk := self._parse_line(line)) is not None:
                    yield chunk
                if self.done:
                    return
            self._line += block[begin:]
            _check_line_length(self._line)

    def finish(self) -> Iterator[Document]:
        """The chunk in a last line that has no end.

        Raises:
            UpstreamError: the stream ended before the answer did. Some servers omit `[DONE]`, but none omits the finish
                reason.
        """
        if self.done:
            return
        self._decoder.finish()
        if (chunk := self._parse_line(bytes(self._line))) is not None:
            yield chunk
        if not (self.done or self._ended):
            raise UpstreamError("ended its stream before the answer did")

    def _parse_line(self, line: bytes) -> Document | None:
        _check_line_length(line)
        data = line[5:].strip() if line.startswith(b"data:") else b""
        if not data:
            self._idle_bytes += len(line) + 1
            if self._idle_bytes > _MAX_IDLE_BYTES:
                raise UpstreamError("sent comments and no chunk")
            return None
        if data == b"[DONE]":
            if not self._begun:
                raise UpstreamError("sent no choices")
            self.done = True
            return None
        self._idle_bytes = 0
        if self._ended:
            self._bytes_after_end += len(data)
            if self._bytes_after_end > _MAX_BYTES_AFTER_END:
                raise UpstreamError("went on after the end of its answer")
        document = _parse_object(data, "a chunk")
        _reject_error(document)
        for choice in _validate(_Chunk, document, "a chunk").choices or ():
            self._begun = True
            self._ended = self._ended or bool(choice.finish_reason)
            if choice.delta is not None:
                self._characters += choice.delta.count_characters()
        if self._characters > self._limits.max_answer:
            raise UpstreamError(f"sent an answer of more than {self._limits.max_answer} characters")
        return document


class _ContentDecoder:
    """Decompresses a body in blocks, and counts its bytes before and after."""

    def __init__(self, encoding: str | None, limit: int) -> None:
        self._limit = limit
        self._received = self._decoded = 0
        self._decompress: Any = None
        self._encoding = (encoding or "").strip().lower()
        if self._encoding in ("gzip", "x-gzip"):
            self._decompress = zlib.decompressobj(16 + zlib.MAX_WBITS)
        elif self._encoding not in ("", "identity", "deflate"):
            raise UpstreamError(f"used the content encoding {self._encoding[:40]!a}, which was not asked for")

    def decode(self, piece: bytes) -> Iterator[bytes]:
        self._received += len(piece)
        self._check(self._received)
        if not piece:
            return
        if self._decompress is None and self._encoding == "deflate":
            # Servers send both forms; the first byte of zlib's says so.
            self._decompress = zlib.decompressobj(zlib.MAX_WBITS if piece[0] & 15 == 8 else -zlib.MAX_WBITS)
        if self._decompress is None:
            yield piece
            return
        while True:
            if self._decompress.eof:
                raise UpstreamError("sent data after the end of its compressed body")
            try:
                block = self._decompress.decompress(piece, _BLOCK_BYTES)
            except zlib.error:
                raise UpstreamError(f"sent a body that is not {self._encoding}") from None
            piece = self._decompress.unconsumed_tail or self._decompress.unused_data
            self._decoded += len(block)
            self._check(self._decoded)
            if block:
                yield block
            if (not piece and len(block) < _BLOCK_BYTES) or (self._decompress.eof and not piece):
                return

    def finish(self) -> None:
        if self._decompress is not None and not self._decompress.eof:
            raise UpstreamError("broke off its compressed body")

    def _check(self, count: int) -> None:
        if count > self._limit:
            raise UpstreamError(f"sent more than {self._limit} bytes")


def _check_line_length(line: bytes | bytearray) -> None:
    if len(line) > _MAX_LINE_BYTES:
        raise UpstreamError(f"sent a line of more than {_MAX_LINE_BYTES} bytes")


def _parse_object(body: bytes, what: str) -> Document:
    document = _parse_json(body, what)
    if not isinstance(document, dict):
        raise UpstreamError(f"sent {what} that is not an object")
    return document


def _reject_constant(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_reject_constant)


def _parse_json(body: bytes, what: str) -> Any:
    """Strict JSON: UTF-8, at most 64 levels, finite numbers, integers of 64 bits. Of a repeated key the last counts."""
    try:
        text = body.decode("utf-8-sig")
        if len(text) > _MAX_VALUES and sum(map(text.count, "[{,")) > _MAX_VALUES:
            raise UpstreamError(f"sent {what} of too many values")
        document = _DECODER.decode(text)
    except ValueError:
        raise UpstreamError(f"sent {what} that is not JSON") from None
    except RecursionError:
        raise UpstreamError(f"sent {what} that is nested too deeply") from None
    try:
        _check_values((document,), 0)
    except OverflowError as exc:
        raise UpstreamError(f"sent {what} {exc}") from None
    return _clean_strings(document) if _ESCAPED_NOT_STORABLE.search(text) else document


def _check_values(values: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise OverflowError("that is nested too deeply")
    for value in values:
        kind = type(value)
        if kind is dict:
            _check_values(value.values(), depth + 1)
        elif kind is list:
            _check_values(value, depth + 1)
        elif (kind is int or kind is float) and not is_storable_number(value):
            raise OverflowError("with a number that is too large")


def _clean_strings(value: Any) -> Any:
    """The value with U+FFFD in place of NUL and of each half of a surrogate pair, in keys too."""
    if isinstance(value, str):
        return _NOT_STORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean_strings(item) for item in value]
    if isinstance(value, dict):
        return {_NOT_STORABLE.sub("\ufffd", key): _clean_strings(item) for key, item in value.items()}
    return value


def _validate(model: type[M], document: Document, what: str) -> M:
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False, include_context=False)[0]
    raise UpstreamError(f"sent {what} that does not fit (`{'.'.join(map(str, first['loc']))}`: {first['msg']})")


def _reject_error(document: Document) -> None:
    """Servers also send errors with status 200, and in streams."""
    if document.get("error") or (document.get("object") == "error" and not document.get("choices")):
        raise UpstreamError(f"sent an error: {_read_error(document).message}".removesuffix(": "))


def _read_error(document: Any) -> ErrorReply:
    error = document
    if isinstance(document, dict):
        error = document.get("error") or document.get("detail") or document
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or error
        code, param = _read_word(error.get("code")), _read_word(error.get("param"))
    else:
        message, code, param = error, None, None
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    return ErrorReply("" if message is None else clean_line(text), code, param)


def _read_word(value: Any) -> str | None:
    word = str(value) if type(value) in (int, str) else ""
    return word if re.fullmatch(r"[A-Za-z0-9_.\[\]:/-]{1,64}", word) else None
