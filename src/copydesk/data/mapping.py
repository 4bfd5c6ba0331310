"""Mapping of a row's keys to the fields of an `EditRecord`: as given, or guessed from the first rows.

A key may be a path within the row, such as `meta.user` or `messages[-1].content`. Also here: the names that other logs
use for the fields, and the one-clause error for a row that is not an `EditRecord`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from copydesk.data.record import EditRecord, common_prefix, is_chat, response_text, split_last_assistant_turn
from copydesk.data.strict_json import describe_json_value, is_storable_number, parse_object, parse_value
from copydesk.errors import InputError

MISSING = object()
"""Returned by `get_path` where there is no such value; `None` is a value."""

_PATH = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[-?\d+\])*")
_STEP = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]")


def get_path(row: Mapping[str, Any], path: str) -> Any:
    """The value at a path; a key of the row that looks like a path is taken for a key."""
    if path in row:
        return row[path]
    value: Any = row if _parse_path(path) else MISSING
    for step in _parse_path(path):
        leads_on = isinstance(value, list if isinstance(step, int) else Mapping)
        try:
            value = value[step] if leads_on else MISSING
        except (KeyError, IndexError):
            return MISSING
    return value


def drop_paths(row: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The row without these paths; an object that becomes empty is dropped too, and lists are left whole."""
    rest = dict(row)
    for path in paths:
        if path in rest:
            del rest[path]
            continue
        *way, last = _parse_path(path) or ("",)
        if isinstance(last, str) and all(isinstance(step, str) for step in way) and get_path(rest, path) is not MISSING:
            _remove_nested(rest, [*map(str, way)], last)
    return rest


def _remove_nested(row: dict[str, Any], way: list[str], last: str) -> None:
    if not way:
        del row[last]
        return
    inner = dict(row[way[0]])
    _remove_nested(inner, way[1:], last)
    row[way[0]] = inner
    if not inner:
        del row[way[0]]


@lru_cache
def _parse_path(path: str) -> tuple[str | int, ...]:
    """Keys and list indices of a path; empty where it is not one."""
    if not _PATH.fullmatch(path):
        return ()
    return tuple(key or int(place) for key, place in _STEP.findall(path))


FIELD_ALIASES: dict[str, str] = {
    **dict.fromkeys(("prompt", "input", "question", "instruction", "x", "messages"), "context"),
    **dict.fromkeys(("output", "completion", "original", "draft", "rejected", "y"), "response"),
    **dict.fromkeys(
        ("edited", "correction", "chosen", "corrected", "revision", "final", "y_prime", "post_edit"), "edit"
    ),
    "user_id": "user",
}
"""Alias → field. `chosen` and `rejected` are TRL's names for the preferred and the other answer of a pair."""


def apply_aliases(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Give the keys of a row the names of `EditRecord`'s fields; nothing is dropped.

    A key that is neither a field nor an alias moves into `metadata`.

    Returns:
        The row under the fields' names, and for each field the key it was found under.

    Raises:
        ValueError: two keys mean the same field, or a key that would move is already in `metadata`.
    """
    folded: dict[str, Any] = {}
    found: dict[str, str] = {}
    extra: dict[str, Any] = {}
    for key, value in row.items():
        field = FIELD_ALIASES.get(key, key)
        if field not in EditRecord.model_fields:
            extra[key] = value
        elif field in found:
            raise ValueError(f"fields '{found[field]}' and '{key}' both mean '{field}'; keep one of them")
        else:
            folded[field], found[field] = value, key
    metadata = folded.get("metadata")
    if metadata is None:
        folded["metadata"] = extra
    elif isinstance(metadata, dict):
        if both := sorted(extra.keys() & metadata.keys()):
            raise ValueError(f"field {both[0]!r} appears both beside 'metadata' and in it; keep one of them")
        folded["metadata"] = {**metadata, **extra}
    return folded, found


_EXPECTED_VALUES = {
    "id": "text that is not empty, or an integer",
    "context": 'text, or a list of chat messages such as {"role": "user", "content": "..."}',
    "response": "text",
    "edit": "text (the response itself when it was accepted, null while it is pending)",
    "user": "text that is not empty, an integer or null",
    "policy": "text that is not empty, an integer or null",
    "propensity": "a number above 0 and at most 1, or null",
    "created_at": 'a date and time such as "2026-01-31T12:00:00Z", or null',
    "metadata": "an object",
}


def explain_validation_error(detail: ErrorDetails, fields: Mapping[str, Any], found: Mapping[str, str]) -> str:
    """Which field is wrong, what is expected and what was found, in one clause.

    Args:
        detail: pydantic's error.
        fields: the row, under the names of `EditRecord`'s fields.
        found: for each field the key it was found or looked for under.
    """
    field = str(detail["loc"][0])
    key = found.get(field, field)
    name = f"'{field}'" if key == field else f"'{key}' (the {field})"
    if field not in fields:
        return f"field {name} is missing; every row needs context and response"
    return f"field {name} must be {_EXPECTED_VALUES[field]}; found {describe_json_value(fields[field])}"


MAPPABLE_FIELDS = tuple(field for field in EditRecord.model_fields if field != "metadata")
"""The fields that a key can be named for. All other keys go into the metadata."""

NO_SUCH_FIELD = "none"
"""Given in place of a key where the rows have no such field."""

_INDEX = re.compile(r"\[(-?\d+)\]")

RowShape = Literal["fields", "chat", "pair", "bare"]
"""Where context and response come from.

`fields`: each has a key. `chat`: the response is the assistant's last message in the context. `pair`: response and edit
are chats, and the context is what both begin with. `bare`: there is no context, so it is the empty text.
"""


@dataclass(frozen=True)
class FieldMapping:
    """Which key of a row is which field.

    A field that no key was found for in the first rows is taken from its own name or an alias where a later row has
    one. JSON's null means no value. Where every value is text, as in CSV, an empty cell means the same, except
    for context and response, which are the empty text then: so an empty edit is pending, and that somebody deleted
    all of a response cannot be expressed there. Numbers, and chats under the key `messages`, are read from their text.
    Metadata may be the text of a JSON object. A `cost` is checked and stays in the metadata as a number.

    Attributes:
        paths: field → key, or path such as `meta.user` or `messages[-1].content`.
        found_by: field → how it was found, in a few words.
        shape: where context and response come from.
        absent_fields: the fields that were declared absent (`none`).
        all_text: whether every value is text.
        metadata_keys: the keys of the first rows that go into the metadata.
    """

    paths: Mapping[str, str]
    found_by: Mapping[str, str]
    shape: RowShape = "fields"
    absent_fields: frozenset[str] = frozenset()
    all_text: bool = False
    metadata_keys: tuple[str, ...] = ()

    def build_record(self, row: Mapping[str, Any], default_id: str) -> EditRecord:
        """The record of a row; one that has no id gets the default one.

        Raises:
            ValueError: a field is missing or wrong; the message says which, what is expected and what was found.
        """
        values, found, metadata = self._split_row(row)
        self._extract_from_chats(values, found, metadata)
        if values.get("id") is None:
            values["id"] = default_id
        values["metadata"] = metadata
        try:
            return EditRecord.model_validate(values)
        except ValidationError as exc:
            names = {**self.paths, **found}
            raise ValueError(explain_validation_error(exc.errors(include_url=False)[0], values, names)) from None

    def describe(self) -> list[tuple[str, str, str]]:
        """Field, key and how that was found, for a person to check; the key is empty where there is none."""
        lines = []
        for field in MAPPABLE_FIELDS:
            key, how = self.paths.get(field, ""), self.found_by.get(field, "")
            match field:
                case "context" if self.shape == "pair":
                    keys = f"{self.paths['response']}, {self.paths.get('edit', '')}".removesuffix(", ")
                    key, how = keys, "the messages they begin with"
                case "context" if self.shape == "bare":
                    key, how = "", "no key: the empty text"
                case "context" if self.shape == "chat" or self._response_index is not None:
                    how += ": the messages before the response"
                case "response" if self.shape == "chat":
                    key, how = self.paths["context"], "the assistant's last message"
                case "edit" if not key:
                    how = "no key: every row is pending"
                case "edit" if self.all_text:
                    how += "; an empty cell is pending"
                case "id" if not key:
                    how = "no key: made from the content"
            if how:
                lines.append((field, key, how))
        if self.metadata_keys:
            lines.append(("metadata", ", ".join(self.metadata_keys), "all other keys"))
        return lines

    @property
    def _response_index(self) -> int | None:
        """Which message of the context's chat the response is, where its path is one within that chat."""
        context, response = self.paths.get("context"), self.paths.get("response")
        if context is None or response is None or not response.startswith(context):
            return None
        place = _INDEX.match(response, len(context))
        return int(place[1]) if place else None

    def _split_row(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
        """The fields' values as they are in the row, the keys they were found under, and the metadata."""
        values: dict[str, Any] = {}
        found: dict[str, str] = {}
        extra: dict[str, Any] = {}
        for field, path in self.paths.items():
            if (value := get_path(row, path)) is not MISSING:
                values[field], found[field] = value, path
        for key, value in drop_paths(row, self.paths.values()).items():
            field = FIELD_ALIASES.get(key, key)
            if field not in MAPPABLE_FIELDS or field in self.paths or field in self.absent_fields:
                extra[key] = value
            elif field in found:
                raise ValueError(f"fields '{found[field]}' and '{key}' both mean '{field}'; keep one of them")
            else:
                values[field], found[field] = value, key
        if self.all_text:
            extra = {key: value for key, value in extra.items() if value != ""}
            for field in values.keys() - {"context", "response"}:
                values[field] = values[field] if values[field] != "" else None
            values["propensity"] = _parse_number(values.get("propensity"))
        return values, found, _merge_metadata(extra, self.all_text)

    def _extract_from_chats(self, values: dict[str, Any], found: Mapping[str, str], metadata: dict[str, Any]) -> None:
        """Convert messages to text, and take the context or the response out of chats."""
        if found.get("context") == "messages" and isinstance(values["context"], str):
            with _prefix_field_name("context", found, "holds what JSON cannot: "):
                values["context"] = _parse_json_chat(values["context"])
        if self.shape == "chat" and "response" not in values and is_chat(values.get("context")):
            with _prefix_field_name("context", found):
                before, values["response"], after = split_last_assistant_turn(values["context"])
            values["context"] = before or ""
            if after:
                metadata["messages_after"] = after
        if self._response_index is not None and is_chat(values.get("context")):
            values["context"] = values["context"][: self._response_index] or ""
        if self.shape in ("pair", "bare") and "context" not in values:
            values["context"] = _infer_context(values.get("response"), values.get("edit"))
        for field in ("response", "edit"):
            if isinstance(values.get(field), Mapping | list):
                with _prefix_field_name(field, found):
                    values[field] = response_text(values[field], values.get("context"))


IDENTITY_MAPPING = FieldMapping(
    {field: field for field in MAPPABLE_FIELDS}, dict.fromkeys(MAPPABLE_FIELDS, "its own name")
)
"""The mapping of rows whose keys are the fields' names (`ImportSource.has_record_fields`)."""


def guess_mapping(
    sample: Sequence[Mapping[str, Any]], given: Mapping[str, str], *, texts: bool = False
) -> FieldMapping:
    """Find out which keys are which fields: as given, else by the fields' own names and by `FIELD_ALIASES`.

    Args:
        sample: the first rows that could be read.
        given: field → key, path, or `none` where there is no such field; as given by `--context KEY` and the like.
        texts: whether every value is text (`ImportSource.all_text`).

    Raises:
        InputError: a key that was given is in none of the rows; two keys could be the same field; there is none that
            could be the response.
    """
    keys = list(dict.fromkeys(key for row in sample for key in row))
    if not keys:
        raise InputError("no row could be read, so no fields are known; check the file and its --format")
    there = f"the keys of the first rows are {', '.join(map(ascii, keys))}"
    paths: dict[str, str] = {}
    how: dict[str, str] = {}
    for field, path in given.items():
        if field not in MAPPABLE_FIELDS:
            raise InputError(
                f"{field!r} is not a field that a key can be named for; the fields are {', '.join(MAPPABLE_FIELDS)}"
            )
        if path == NO_SUCH_FIELD:
            continue
        if all(get_path(row, path) is MISSING for row in sample):
            raise InputError(f"{_option_name(field)} {path}: none of the first rows has it; {there}")
        paths[field], how[field] = path, f"given by {_option_name(field)}"
    for field in [field for field in MAPPABLE_FIELDS if field not in given]:
        claimed = set(paths.values())
        keys_of_field = [key for key in keys if FIELD_ALIASES.get(key, key) == field and key not in claimed]
        if len(keys_of_field) > 1:
            both = " and ".join(map(repr, keys_of_field))
            raise InputError(f"fields {both} could each be the {field}; choose one with {_option_name(field)} KEY")
        for key in keys_of_field:
            paths[field], how[field] = key, "its own name" if key == field else "guessed from its name"
    shape = _guess_shape(sample, paths)
    if shape is None:
        raise InputError(f"no key could be the response; name it with --response KEY ({there})")
    absent = frozenset(field for field, path in given.items() if path == NO_SUCH_FIELD)
    others = tuple(key for key in keys if key != "metadata" and key not in paths.values())
    return FieldMapping(paths, how, shape, absent, texts, others)


def _guess_shape(sample: Sequence[Mapping[str, Any]], paths: Mapping[str, str]) -> RowShape | None:
    """Where context and response come from; `None` where there is no response."""
    if "response" in paths:
        if "context" in paths:
            return "fields"
        return "pair" if any(is_chat(get_path(row, paths["response"])) for row in sample) else "bare"
    contexts = [get_path(row, paths["context"]) for row in sample] if "context" in paths else []
    if paths.get("context") == "messages":
        contexts = [_parse_sample_chat(value) if isinstance(value, str) else value for value in contexts]
    return "chat" if any(map(is_chat, contexts)) else None


def _parse_sample_chat(text: str) -> Any:
    try:
        return _parse_json_chat(text)
    except ValueError:  # the row is rejected later
        return text


def _option_name(field: str) -> str:
    return f"--{field.replace('_', '-')}"


@contextmanager
def _prefix_field_name(field: str, found: Mapping[str, str], verb: str = "") -> Iterator[None]:
    """Put the field's name before the message of a `ValueError` raised in the block."""
    try:
        yield
    except ValueError as exc:
        key = found.get(field, field)
        name = f"'{field}'" if key == field else f"'{key}' (the {field})"
        raise ValueError(f"field {name} {verb}{exc}") from None


def _infer_context(response: Any, edit: Any) -> Any:
    """The context of a row without one: the messages that response and edit begin with."""
    if not is_chat(response):
        return ""
    return common_prefix(response, edit if is_chat(edit) else response) or ""


def _merge_metadata(extra: dict[str, Any], texts: bool) -> Any:
    """The metadata of a row: the value under that key with all other keys."""
    value = extra.pop("metadata", None)
    if "cost" in extra:
        extra["cost"] = _parse_cost(extra["cost"], texts)
    if isinstance(value, str):
        value = _parse_json_object(value)
    if value is None:
        return extra
    if not isinstance(value, Mapping):
        raise ValueError(f"field 'metadata' must be an object; found {describe_json_value(value)}")
    if both := sorted(extra.keys() & value.keys()):
        raise ValueError(f"field {both[0]!r} appears both beside 'metadata' and in it; keep one of them")
    return {**value, **extra}


def _parse_cost(value: Any, texts: bool) -> Any:
    number = _parse_number(value) if texts else value
    good = isinstance(number, int | float) and not isinstance(number, bool) and number >= 0
    good = good and is_storable_number(number)
    if number is not None and not good:
        raise ValueError(f"field 'cost' must be a number of at least 0, or null; found {describe_json_value(value)}")
    return number


def _parse_number(value: Any) -> Any:
    """The number written in a text, else the value as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _parse_json_object(text: str) -> Any:
    try:
        return parse_object(text.encode())
    except ValueError:
        return text


def _parse_json_chat(text: str) -> Any:
    """The chat written as JSON in a text, else the text; ValueError if it holds what a log cannot, such as NaN."""
    try:
        chat = parse_value(text)
    except json.JSONDecodeError:
        return text
    return chat if is_chat(chat) else text
