"""What a request asks of a local policy, and how one row's next token is drawn."""

import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TopPLogitsWarper

from copydesk.data.record import Message
from copydesk.gateway.backends.base import BackendError, Json
from copydesk.models.generate import GumbelNoise

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_MAX_STOPS = 4
_MAX_TOKENS = 2**31 - 1

# Fields that a local policy cannot honour: the types they may have, and the values that ask for nothing.
_UNSUPPORTED_FIELDS: dict[str, tuple[tuple[type, ...], tuple[Any, ...]]] = {
    "n": ((int,), (1,)),
    "tools": ((list,), ([],)),
    "tool_choice": ((str, dict), ("none", "auto")),
    "functions": ((list,), ([],)),
    "function_call": ((str, dict), ("none", "auto")),
    "logprobs": ((bool,), (False,)),
    "top_logprobs": ((int,), ()),
    "logit_bias": ((dict,), ({},)),
    "response_format": ((dict,), ({"type": "text"},)),
    "modalities": ((list,), (["text"],)),
    "audio": ((dict,), ()),
    "web_search_options": ((dict,), ()),
}

_GREEDY_TEMPERATURE = 1e-5
"""Below this a temperature is 0: logits divided by less leave the range of float32."""


@dataclass(frozen=True)
class GenerationRequest:
    """A request's messages and parameters, checked; `None` where it leaves the choice to the server.

    Fields and ranges are those of OpenAI's reference of `POST /v1/chat/completions`. Fields that change nothing about
    an answer (`store`, `metadata`, ...) are not looked at.
    """

    messages: tuple[Message, ...]
    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    include_usage: bool = False

    @classmethod
    def parse(cls, request: Json) -> "GenerationRequest":
        """Read them from the body of a request.

        Raises:
            PolicyFault: a field is of the wrong type or out of its range (400, `invalid_value`), or asks for something
                that a local policy does not do (400, `unsupported_parameter`).
        """
        for field, (types, harmless) in _UNSUPPORTED_FIELDS.items():
            value = _read_field(request, field, *types)
            if value is not None and value not in harmless:
                if field == "n" and value < 1:
                    raise _make_invalid_value_error("n", "must be at least 1")
                raise _make_unsupported_error(field, f"{field} is not supported by this model")
        _read_field(request, "user", str)
        older = _read_int(request, "max_tokens", 1, _MAX_TOKENS)
        newer = _read_int(request, "max_completion_tokens", 1, _MAX_TOKENS)
        return cls(
            messages=_parse_messages(request),
            temperature=_read_float(request, "temperature", 1.0, 0, 2),
            top_p=_read_float(request, "top_p", 1.0, 0, 1),
            presence_penalty=_read_float(request, "presence_penalty", 0.0, -2, 2),
            frequency_penalty=_read_float(request, "frequency_penalty", 0.0, -2, 2),
            max_tokens=older if newer is None else newer,
            stop=_read_stops(request),
            seed=_read_int(request, "seed", -(2**63), 2**63 - 1),
            include_usage=_read_include_usage(request),
        )


class Sampler:
    """Draws one row's tokens, with luck of its own.

    The luck is that of `GumbelNoise` with the request's seed alone, so a local policy answers in the gateway what
    `LocalPolicy` answers with the same seed and temperature.
    """

    def __init__(self, parameters: GenerationRequest) -> None:
        self._presence = parameters.presence_penalty
        self._frequency = parameters.frequency_penalty
        self._temperature = parameters.temperature if parameters.temperature >= _GREEDY_TEMPERATURE else 0.0
        self._top_p = TopPLogitsWarper(parameters.top_p) if parameters.top_p < 1 else None
        seed = secrets.randbits(64) if parameters.seed is None else parameters.seed % 2**64
        # The noise comes after top-p, which comes after the temperature.
        self._noise = GumbelNoise([(seed,)], 1.0)
        self._token_counts: Counter[int] = Counter()

    def process_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """What the next token is the largest of; logits and scores have the shape (1, vocabulary)."""
        scores: Any = logits.float()
        if self._token_counts and (self._presence or self._frequency):
            ids = torch.tensor(list(self._token_counts), device=scores.device)
            counts = torch.tensor(list(self._token_counts.values()), device=scores.device, dtype=scores.dtype)
            scores = scores.index_add(1, ids, -(self._presence + self._frequency * counts)[None])
        if self._temperature > 0:
            nothing: Any = None  # neither looks at the tokens so far
            scores = scores / self._temperature
            if self._top_p is not None:
                scores = self._top_p(nothing, scores)
            scores = self._noise(nothing, scores)
        drawn: torch.Tensor = scores
        return drawn

    def record_token(self, token: int) -> None:
        """Count a token that was drawn, for the penalties."""
        self._token_counts[token] += 1


def _make_invalid_value_error(field: str, what: str) -> BackendError:
    return BackendError(400, f"{field}: {what}", retriable_elsewhere=False, code="invalid_value", param=field)


def _make_unsupported_error(field: str, message: str) -> BackendError:
    return BackendError(400, message, retriable_elsewhere=False, code="unsupported_parameter", param=field)


def _read_field(request: Json, field: str, *types: type) -> Any:
    """A field's value, of exactly one of the types (a bool is no number), or `None`."""
    value = request.get(field)
    if value is not None and type(value) not in types:
        raise _make_invalid_value_error(field, f"must be of type {' or '.join(one.__name__ for one in types)}")
    return value


def _read_float(request: Json, field: str, default: float, low: float, high: float) -> float:
    value = _read_field(request, field, int, float)
    if value is None:
        return default
    if not low <= value <= high:  # NaN is in no range
        raise _make_invalid_value_error(field, f"must be between {low} and {high}")
    return float(value)


def _read_int(request: Json, field: str, low: int, high: int) -> int | None:
    value: int | None = _read_field(request, field, int)
    if value is not None and not low <= value <= high:
        raise _make_invalid_value_error(field, f"must be between {low} and {high}")
    return value


def _read_stops(request: Json) -> tuple[str, ...]:
    value = _read_field(request, "stop", str, list)
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if len(stops) > _MAX_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        raise _make_invalid_value_error("stop", f"must be a string or up to {_MAX_STOPS} strings, none of them empty")
    return tuple(stops)


def _read_include_usage(request: Json) -> bool:
    value = (_read_field(request, "stream_options", dict) or {}).get("include_usage")
    if value is not None and not isinstance(value, bool):
        raise _make_invalid_value_error("stream_options", "include_usage must be of type bool")
    return bool(value)


def _parse_messages(request: Json) -> tuple[Message, ...]:
    messages = _read_field(request, "messages", list)
    if not messages:
        raise _make_invalid_value_error("messages", "must hold at least one message")
    return tuple(_parse_message(message) for message in messages)


def _parse_message(message: Any) -> Message:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise _make_invalid_value_error("messages", "each must be an object with a role")
    if message.get("tool_calls") or message.get("function_call") or message["role"] in ("tool", "function"):
        raise _make_unsupported_error("messages", "messages: tools are not supported by this model")
    if message["role"] not in _ROLES:
        raise _make_invalid_value_error("messages", f"a role must be one of {', '.join(_ROLES)}")
    content = message.get("content")
    parts = content if isinstance(content, list) else [] if content is None else [{"type": "text", "text": content}]
    text = "\n".join(_parse_text_part(part) for part in parts)  # as vLLM joins them, and the log does
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell and UTF-8 cannot
        raise _make_invalid_value_error("messages", "the content is not valid Unicode text") from None
    return Message(role=_ROLES[message["role"]], content=text)


def _parse_text_part(part: Any) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise _make_invalid_value_error("messages", "content must be a string or a list of parts with a type")
    if part["type"] != "text":
        raise _make_unsupported_error("messages", "messages: only parts of type text are supported by this model")
    if not isinstance(part.get("text"), str):
        raise _make_invalid_value_error("messages", "the text of a part must be a string")
    return str(part["text"])
