r"""Edit logs as JSON Lines: UTF-8, one JSON object a line, `\n` between lines.

Read leniently where nothing is lost by it: aliases of the field names (`copydesk.log.aliases`), unknown fields (they
move into `metadata`), a byte-order mark, `\r\n`, blank lines, integer ids, a missing id. Everything else that is wrong
is one `InputError` that names file, line and field.

A row without an id gets one from its content: the first 32 hex digits of the SHA-256 of its line number, user, context
and response. The line keeps two equal rows apart; the edit is left out, so that a pending row keeps its id once its
edit arrives. In a log that only grows such ids never change.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError

from copydesk.errors import InputError
from copydesk.log.aliases import fold
from copydesk.log.files import atomic_write, open_to_read
from copydesk.log.record import EditRecord

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_EXPECTED = {
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


def read_jsonl(path: Path | str) -> Iterator[EditRecord]:
    """Read a log row by row, in the order of the file; the memory it takes does not grow with the file.

    That is also why it does not look for repeated ids; `load_log` does.

    Raises:
        InputError: the file cannot be opened, or a row is not a valid `EditRecord`. The rows before a faulty one have
            been yielded by then.
    """
    for _, record in _numbered(path):
        yield record


def load_log(path: Path | str) -> list[EditRecord]:
    """Read a whole log.

    Raises:
        InputError: as `read_jsonl`; or two rows have the same id; or there are no rows.
    """
    lines: dict[str, int] = {}
    records = []
    for line, record in _numbered(path):
        if (first := lines.setdefault(record.id, line)) != line:
            raise InputError(f"{path}:{line}: field 'id': {record.id!r} is also the id of line {first}; ids are unique")
        records.append(record)
    if not records:
        raise InputError(f"{path}: the log is empty; it takes at least one row with context, response and edit")
    return records


def write_jsonl(path: Path | str, records: Iterable[EditRecord]) -> int:
    """Write a log and return the number of its rows; `path` is replaced in one step or not at all.

    Fields that are `None` and an empty `metadata` are left out. Reading the file gives equal records.

    Raises:
        InputError: the file cannot be written, or a record holds what JSON cannot: a number that is not finite, an
            object that is not a JSON value, half of a surrogate pair.
    """
    rows = 0
    with atomic_write(path) as file:
        for rows, record in enumerate(records, start=1):
            try:
                file.write(_line(record))
            except (PydanticSerializationError, ValueError, TypeError) as fault:
                raise InputError(
                    f"{path}: row {rows} (id {record.id!a}) cannot be written as JSON ({fault}); mend its metadata"
                ) from None
    return rows


def _line(record: EditRecord) -> str:
    row = record.model_dump(mode="json", exclude={"metadata"})
    row = {field: value for field, value in row.items() if value is not None}
    if record.metadata:
        row["metadata"] = record.metadata
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    if lone := _half_pair(text):
        raise ValueError(f"it holds {lone!a}, half of a surrogate pair")
    return text + "\n"


def _numbered(path: Path | str) -> Iterator[tuple[int, EditRecord]]:
    """The records of a file with their line numbers, from 1."""
    with open_to_read(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
            if not text.strip():
                continue
            try:
                yield number, _record(text, number)
            except ValueError as fault:
                raise InputError(f"{path}:{number}: {fault}") from None


def _record(line: bytes, number: int) -> EditRecord:
    """One line's record; a `ValueError` says what is wrong with it and how to mend it."""
    row = _object(line)
    for key, value in row.items():
        if b"\\u" in line and (lone := _half_pair(json.dumps([key, value], ensure_ascii=False))):
            raise ValueError(f"field {key!a} holds {lone!a}, half of a surrogate pair, not a character; remove it")
    fields, found = fold(row)
    if fields.get("id") is None:
        identity = [number, fields.get("user"), fields.get("context"), fields.get("response")]
        fields["id"] = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    try:
        return EditRecord.model_validate(fields)
    except ValidationError as fault:
        raise ValueError(_explain(fault.errors(include_url=False)[0], fields, found)) from None


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(
            line.decode("utf-8"), object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
        )
    except UnicodeDecodeError as fault:
        raise ValueError(f"byte {fault.start + 1} of the line is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as fault:
        if not line.endswith(b"\n"):
            raise ValueError(
                "the file ends in the middle of a row; copy it again in full or remove this line"
            ) from None
        raise ValueError(
            f"not JSON at column {fault.colno} ({fault.msg}); each line must hold one JSON object"
        ) from None
    except RecursionError:
        raise ValueError("lists or objects are nested too deeply; flatten the row") from None
    if not isinstance(row, dict):
        raise ValueError(f"{_kind(row)} where one JSON object is expected; write {{...}} on each line")
    return row


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"field {twice!r} stands there twice; keep one of them")
    return row


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"{digits} is too large for a number; write a smaller one or text")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; write null or leave the field out")


def _half_pair(text: str) -> str | None:
    """The first lone surrogate in a text, if there is one."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as fault:
        return text[fault.start]
    return None


def _explain(detail: ErrorDetails, fields: dict[str, Any], found: dict[str, str]) -> str:
    field = str(detail["loc"][0])
    if field not in fields:
        return f"field '{field}' is missing; every row needs context and response"
    key = found.get(field, field)
    name = f"'{field}'" if key == field else f"'{key}' (the {field})"
    return f"field {name} must be {_EXPECTED[field]}; found {_kind(fields[field])}"


def _kind(value: Any) -> str:
    """What a JSON value is, in JSON's words, and the value itself where it is short."""
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
