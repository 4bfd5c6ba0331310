"""Strict JSON: objects in UTF-8 with finite numbers of at most 64 bits, whole characters and no repeated key.

`load_stored_json` reads what an earlier release stored, which may hold other numbers.

Every error is a `ValueError` of one clause that names the error and its fix.
"""

import json
import math
from typing import Any

_MAX_DIGITS = 21  # of an integer of 64 bits, with its sign; longer ones take long to convert
_TOO_DEEP = "lists or objects are nested too deeply; flatten the row"


def parse_object(text: bytes, unit: str = "line") -> dict[str, Any]:
    r"""The one JSON object that is in `text`.

    Args:
        text: UTF-8. Where it is not JSON and has no `\n` at its end, the error is a file that ends in the middle of a
            row.
        unit: what messages call it.

    Raises:
        ValueError: it is not UTF-8, not JSON or not an object; a key appears twice; a number is not finite or an
            integer of more than 64 bits; a text holds half of a surrogate pair; it is nested too deeply.
    """
    try:
        row = _STRICT_DECODER.decode(text.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise ValueError(f"byte {exc.start + 1} of the {unit} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as exc:
        if not text.endswith(b"\n"):
            raise ValueError(
                "the file ends in the middle of a row; copy it again in full or remove this line"
            ) from None
        raise ValueError(f"not JSON at column {exc.colno} ({exc.msg}); each {unit} must hold one JSON object") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if not isinstance(row, dict):
        raise ValueError(f"{describe_json_value(row)} where one JSON object is expected; write {{...}} on each {unit}")
    if b"\\u" in text:
        for key, value in row.items():
            reject_lone_surrogate(key, value)
    return row


def parse_value(text: str) -> Any:
    """The JSON value in a text, as strict as `parse_object`; `json.JSONDecodeError` where it is not JSON at all."""
    try:
        value = _STRICT_DECODER.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if "\\u" in text:
        reject_lone_surrogate("value", value)
    return value


def reject_lone_surrogate(key: str, value: Any) -> None:
    """Raise a `ValueError` if a key or anything in its value holds half of a surrogate pair."""
    try:
        text = json.dumps([key, value], ensure_ascii=False)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if lone := find_lone_surrogate(text):
        raise ValueError(f"field {key!a} holds {lone!a}, half of a surrogate pair, not a character; remove it")


def find_lone_surrogate(text: str) -> str | None:
    """The first lone surrogate in a text, if there is one."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        return text[exc.start]
    return None


def is_storable_number(value: float) -> bool:
    """Whether a number is finite and, if it is an integer, has at most 64 bits; others are not exchanged as JSON."""
    return -(2**63) <= value < 2**64 if isinstance(value, int) else math.isfinite(value)


def find_unstorable_number(value: Any) -> float | None:
    """The first number in a JSON value that is not storable, if there is one."""
    pending = [value]
    while pending:
        match pending.pop():
            case dict() as found:
                pending.extend(found.values())
            case list() | tuple() as found:
                pending.extend(found)
            case int() | float() as found if not is_storable_number(found):
                return found
    return None


def load_stored_json(text: str) -> Any:
    """Parse JSON from the store; a number that is not storable becomes null.

    Releases before 0.2 stored NaN, infinities and integers of any length, which no other program reads.
    """
    return _STORED_DECODER.decode(text)


def describe_json_value(value: Any) -> str:
    """A JSON value in words for a message: its type, and the value itself where it is short."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value!a}" if len(value) <= 40 else "a longer text"
        case list():
            return "a list"
        case _:
            return "an object"


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"field {twice!r} appears twice; keep one of them")
    return row


def _parse_finite_float(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"{_shorten(digits)} is too large for a number; write a smaller one or text")
    return value


def _parse_bounded_integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or not is_storable_number(value := int(digits)):
        raise ValueError(f"{_shorten(digits)} is an integer of more than 64 bits; write a smaller one or text")
    return value


def _shorten(digits: str) -> str:
    return digits if len(digits) <= 40 else f"{digits[:20]}... ({len(digits)} characters)"


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; write null or leave the field out")


_STRICT_DECODER = json.JSONDecoder(
    object_pairs_hook=_reject_duplicate_keys,
    parse_float=_parse_finite_float,
    parse_int=_parse_bounded_integer,
    parse_constant=_reject_constant,
)
_STORED_DECODER = json.JSONDecoder(
    parse_float=lambda digits: _drop_unstorable(float(digits)),
    parse_int=lambda digits: None if len(digits) > _MAX_DIGITS else _drop_unstorable(int(digits)),
    parse_constant=lambda name: None,
)


def _drop_unstorable(value: float) -> float | None:
    return value if is_storable_number(value) else None
