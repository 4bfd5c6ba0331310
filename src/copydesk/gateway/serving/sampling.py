"""What a request asks of a local policy, and how one row's next token is drawn."""

import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TopPLogitsWarper

from copydesk.gateway.serving.policy import Json, PolicyFault
from copydesk.learn.noise import GumbelNoise
from copydesk.log.record import Message

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_MOST_STOPS = 4
_MOST_TOKENS = 2**31 - 1

# Fields that a local policy cannot honour: the types they may have, and the values that ask for nothing.
_UNSUPPORTED: dict[str, tuple[tuple[type, ...], tuple[Any, ...]]] = {
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

_GREEDY = 1e-5
"""Below this a temperature is 0: logits divided by less leave the range of float32."""


@dataclass(frozen=True)
class Parameters:
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
    def parse(cls, request: Json) -> "Parameters":
        """Read them from the body of a request.

        Raises:
            PolicyFault: a field is of the wrong type or out of its range (400, `invalid_value`), or asks for something
                that a local policy does not do (400, `unsupported_parameter`).
        """
        for field, (types, harmless) in _UNSUPPORTED.items():
            value = _field(request, field, *types)
            if value is not None and value not in harmless:
                if field == "n" and value < 1:
                    raise _invalid("n", "must be at least 1")
                raise _unsupported(field, f"{field} is not supported by this model")
        _field(request, "user", str)
        older = _whole(request, "max_tokens", 1, _MOST_TOKENS)
        newer = _whole(request, "max_completion_tokens", 1, _MOST_TOKENS)
        return cls(
            messages=_messages(request),
            temperature=_number(request, "temperature", 1.0, 0, 2),
            top_p=_number(request, "top_p", 1.0, 0, 1),
            presence_penalty=_number(request, "presence_penalty", 0.0, -2, 2),
            frequency_penalty=_number(request, "frequency_penalty", 0.0, -2, 2),
            max_tokens=older if newer is None else newer,
            stop=_stops(request),
            seed=_whole(request, "seed", -(2**63), 2**63 - 1),
            include_usage=_include_usage(request),
        )


class Draw:
    """Draws one row's tokens, with luck of its own.

    The luck is that of `GumbelNoise` with the request's seed alone, so a local policy answers in the gateway what
    `LocalPolicy` answers with the same seed and temperature.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._presence = parameters.presence_penalty
        self._frequency = parameters.frequency_penalty
        self._temperature = parameters.temperature if parameters.temperature >= _GREEDY else 0.0
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


def _invalid(field: str, what: str) -> PolicyFault:
    return PolicyFault(400, f"{field}: {what}", retriable_elsewhere=False, code="invalid_value", param=field)


def _unsupported(field: str, message: str) -> PolicyFault:
    return PolicyFault(400, message, retriable_elsewhere=False, code="unsupported_parameter", param=field)


def _field(request: Json, field: str, *types: type) -> Any:
    """A field's value, of exactly one of the types (a bool is no number), or `None`."""
    value = request.get(field)
    if value is not None and type(value) not in types:
        raise _invalid(field, f"must be of type {' or '.join(one.__name__ for one in types)}")
    return value


def _number(request: Json, field: str, default: float, low: float, high: float) -> float:
    value = _field(request, field, int, float)
    if value is None:
        return default
    if not low <= value <= high:  # NaN is in no range
        raise _invalid(field, f"must be between {low} and {high}")
    return float(value)


def _whole(request: Json, field: str, low: int, high: int) -> int | None:
    value: int | None = _field(request, field, int)
    if value is not None and not low <= value <= high:
        raise _invalid(field, f"must be between {low} and {high}")
    return value


def _stops(request: Json) -> tuple[str, ...]:
    value = _field(request, "stop", str, list)
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if len(stops) > _MOST_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        raise _invalid("stop", f"must be a string or up to {_MOST_STOPS} strings, none of them empty")
    return tuple(stops)


def _include_usage(request: Json) -> bool:
    value = (_field(request, "stream_options", dict) or {}).get("include_usage")
    if value is not None and not isinstance(value, bool):
        raise _invalid("stream_options", "include_usage must be of type bool")
    return bool(value)


def _messages(request: Json) -> tuple[Message, ...]:
    messages = _field(request, "messages", list)
    if not messages:
        raise _invalid("messages", "must hold at least one message")
    return tuple(_message(message) for message in messages)


def _message(message: Any) -> Message:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise _invalid("messages", "each must be an object with a role")
    if message.get("tool_calls") or message.get("function_call") or message["role"] in ("tool", "function"):
        raise _unsupported("messages", "messages: tools are not supported by this model")
    if message["role"] not in _ROLES:
        raise _invalid("messages", f"a role must be one of {', '.join(_ROLES)}")
    content = message.get("content")
    parts = content if isinstance(content, list) else [] if content is None else [{"type": "text", "text": content}]
    text = "\n".join(_text(part) for part in parts)  # as vLLM joins them, and the log does
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell and UTF-8 cannot
        raise _invalid("messages", "the content is not valid Unicode text") from None
    return Message(role=_ROLES[message["role"]], content=text)


def _text(part: Any) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise _invalid("messages", "content must be a string or a list of parts with a type")
    if part["type"] != "text":
        raise _unsupported("messages", "messages: only parts of type text are supported by this model")
    if not isinstance(part.get("text"), str):
        raise _invalid("messages", "the text of a part must be a string")
    return str(part["text"])
