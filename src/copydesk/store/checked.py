"""Rows as records: read through the field mapping, kept within the limits, redacted if that is wanted."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from copydesk.data.importers.base import SourceRow
from copydesk.data.mapping import FieldMapping
from copydesk.data.record import EditRecord
from copydesk.store.imports import compute_content_digest

RedactFunction = Callable[[EditRecord], tuple[EditRecord, Counter[str]]]

_PLACEHOLDER_ID = "?"  # stands for the id until the content is known
_MAX_NAME_BYTES = 2_000  # bytes; PostgreSQL's indexes take a little more
_MAX_DEPTH = 200  # lists and objects in one another, far from what Python's own reader and writer of JSON can still do
_TOO_DEEP = "lists or objects are nested too deeply; flatten the row"


@dataclass(frozen=True)
class RowParser:
    """How rows are read.

    Attributes:
        mapping: which key is which field.
        tenant: whose the rows are; part of their digests.
        id_prefix: put before every id that a row has itself.
        max_text: the longest context, response or edit, in characters.
        redact: replaces what should not be kept; `None` to keep texts as they are.
    """

    mapping: FieldMapping
    tenant: str
    id_prefix: str = ""
    max_text: int = 1_000_000
    redact: RedactFunction | None = None


@dataclass(frozen=True)
class ParsedRow:
    """A row that was read: a record with the digest of its content, or why it is rejected."""

    row: SourceRow
    record: EditRecord | None = None
    digest: str = ""
    error: str = ""


def parse_rows(rows: Iterable[SourceRow], reading: RowParser, replaced: Counter[str]) -> Iterator[ParsedRow]:
    """Read rows one by one; what is redacted is counted in `replaced` by kind."""
    for row in rows:
        if row.fields is None:
            yield ParsedRow(row, error=row.error or "cannot be read")
            continue
        try:
            record, found = _parse_row(row, reading)
            digest = compute_content_digest(record, reading.tenant)
        except (ValueError, TypeError) as fault:
            yield ParsedRow(row, error=str(fault).splitlines()[0])
            continue
        except RecursionError:
            yield ParsedRow(row, error=_TOO_DEEP)
            continue
        replaced.update(found)
        if record.id == _PLACEHOLDER_ID:
            record = record.model_copy(update={"id": digest})
        yield ParsedRow(row, record, digest)


def _parse_row(row: SourceRow, reading: RowParser) -> tuple[EditRecord, Counter[str]]:
    assert row.fields is not None
    if _exceeds_depth(list(row.fields.values()), _MAX_DEPTH):
        raise ValueError(_TOO_DEEP)
    record = reading.mapping.build_record(row.fields, _PLACEHOLDER_ID)
    if reading.id_prefix and record.id != _PLACEHOLDER_ID:
        record = record.model_copy(update={"id": reading.id_prefix + record.id})
    _check_texts(record, reading.max_text)
    _check_names(record)
    _check_timestamp(record)
    return (record, Counter()) if reading.redact is None else reading.redact(record)


def _check_texts(record: EditRecord, most: int) -> None:
    context = record.context
    texts = [context] if isinstance(context, str) else [message.content for message in context]
    for field, size in (
        ("context", sum(map(len, texts))),
        ("response", len(record.response)),
        ("edit", len(record.edit or "")),
    ):
        if size > most:
            raise ValueError(f"field '{field}' has {size} characters; at most {most} are taken (--max-text)")
    for field in ("id", "user", "policy", "response", "edit"):
        if "\x00" in (getattr(record, field) or ""):
            raise ValueError(f"field '{field}' holds a NUL character, which no text in a database can; remove it")


def _check_names(record: EditRecord) -> None:
    for field in ("id", "user", "policy"):
        size = len((getattr(record, field) or "").encode())
        if size > _MAX_NAME_BYTES:
            raise ValueError(f"field '{field}' has {size} bytes; at most {_MAX_NAME_BYTES} are taken")


def _check_timestamp(record: EditRecord) -> None:
    try:
        if record.created_at is not None:
            record.created_at.astimezone(UTC)
    except OverflowError:
        raise ValueError("field 'created_at' is not in the years 1 to 9999 in UTC; mend it or leave it out") from None


def _exceeds_depth(value: Any, most: int) -> bool:
    """Whether lists and objects stand in one another more often than so."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_exceeds_depth(one, most - 1) for one in inner)
