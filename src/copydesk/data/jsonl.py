r"""Edit logs as JSON Lines: UTF-8, one JSON object a line, `\n` between lines.

Reading accepts what loses nothing: aliases of the field names (`copydesk.data.mapping`), unknown fields (they move into
`metadata`), a byte-order mark, `\r\n`, blank lines, integer ids, a missing id. Any other error is one `InputError` that
names file, line and field. A log may also be at a URL (`copydesk.utils.remote`).

A row without an id gets one from its content: the first 32 hex digits of the SHA-256 of its line number, user, context
and response. The line keeps two equal rows apart; the edit is left out, so that a pending row keeps its id once its
edit arrives. In a log that only grows such ids never change.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from copydesk.data.mapping import apply_aliases, explain_validation_error
from copydesk.data.record import EditRecord
from copydesk.data.strict_json import find_lone_surrogate, parse_object
from copydesk.errors import InputError
from copydesk.utils.atomic import atomic_write, open_to_read
from copydesk.utils.remote import hide_url_credentials

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_jsonl(path: Path | str) -> Iterator[EditRecord]:
    """Read a log row by row, in the order of the file; the memory it takes does not grow with the file.

    For the same reason it does not check for repeated ids; `load_log` does.

    Raises:
        InputError: the file cannot be opened, or a row is not a valid `EditRecord`; the rows before it have been
            yielded by then.
    """
    for _, record in _iter_numbered_records(path):
        yield record


def load_log(path: Path | str) -> list[EditRecord]:
    """Read a whole log.

    Raises:
        InputError: as `read_jsonl`; or two rows have the same id; or there are no rows.
    """
    lines: dict[str, int] = {}
    name = hide_url_credentials(path)
    records = []
    for line, record in _iter_numbered_records(path):
        if (first := lines.setdefault(record.id, line)) != line:
            raise InputError(f"{name}:{line}: field 'id': {record.id!r} is also the id of line {first}; ids are unique")
        records.append(record)
    if not records:
        raise InputError(f"{name}: the log is empty; it takes at least one row with context, response and edit")
    return records


def write_jsonl(path: Path | str, records: Iterable[EditRecord]) -> int:
    """Write a log and return the number of its rows; `path` is replaced in one step or not at all.

    Fields that are `None` and empty `metadata` are left out. Reading the file gives equal records.

    Raises:
        InputError: the file cannot be written, or a record holds what JSON cannot: a number that is not finite, an
            object that is not a JSON value, half of a surrogate pair.
    """
    rows, name = 0, hide_url_credentials(path)
    with atomic_write(path) as file:
        for rows, record in enumerate(records, start=1):
            try:
                file.write(serialize_record(record))
            except (PydanticSerializationError, ValueError, TypeError) as exc:
                raise InputError(
                    f"{name}: row {rows} (id {record.id!a}) cannot be written as JSON ({exc}); fix its metadata"
                ) from None
    return rows


def serialize_record(record: EditRecord) -> str:
    """A record as one line of JSON, without fields that are `None` and without empty metadata.

    Raises:
        ValueError: it holds a number that is not finite, or half of a surrogate pair.
        TypeError: it holds a value that JSON cannot.
    """
    row = record.model_dump(mode="json", exclude={"metadata"})
    row = {field: value for field, value in row.items() if value is not None}
    if record.metadata:
        row["metadata"] = record.metadata
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    if lone := find_lone_surrogate(text):
        raise ValueError(f"it holds {lone!a}, half of a surrogate pair")
    return text + "\n"


def _iter_numbered_records(path: Path | str) -> Iterator[tuple[int, EditRecord]]:
    """The records of a file with their line numbers, from 1."""
    with open_to_read(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
            if not text.strip():
                continue
            try:
                yield number, _parse_record(text, number)
            except ValueError as exc:
                raise InputError(f"{hide_url_credentials(path)}:{number}: {exc}") from None


def _parse_record(line: bytes, number: int) -> EditRecord:
    """The record of one line; ValueError, with the error and its fix, where it is not valid."""
    fields, found = apply_aliases(parse_object(line))
    if fields.get("id") is None:
        identity = [number, fields.get("user"), fields.get("context"), fields.get("response")]
        fields["id"] = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    try:
        return EditRecord.model_validate(fields)
    except ValidationError as exc:
        raise ValueError(explain_validation_error(exc.errors(include_url=False)[0], fields, found)) from None
