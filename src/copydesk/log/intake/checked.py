"""Rows as records: read through the field mapping, kept within the limits, redacted if that is wanted."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from copydesk.log.mapping import FieldMapping
from copydesk.log.record import EditRecord
from copydesk.log.sources.source import Row
from copydesk.log.store.imports import content_digest

Redact = Callable[[EditRecord], tuple[EditRecord, Counter[str]]]

_NO_ID = "?"  # stands for the id until the content is known
_LONGEST_NAME = 2_000  # bytes; PostgreSQL's indexes take a little more
_DEEPEST = 200  # lists and objects in one another, far from what Python's own reader and writer of JSON can still do
_TOO_DEEP = "lists or objects are nested too deeply; flatten the row"


@dataclass(frozen=True)
class Reading:
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
    redact: Redact | None = None


@dataclass(frozen=True)
class Checked:
    """A row that was read: a record with the digest of its content, or why it is rejected."""

    row: Row
    record: EditRecord | None = None
    digest: str = ""
    error: str = ""


def checked(rows: Iterable[Row], reading: Reading, replaced: Counter[str]) -> Iterator[Checked]:
    """Read rows one by one; what is redacted is counted in `replaced` by kind."""
    for row in rows:
        if row.fields is None:
            yield Checked(row, error=row.error or "cannot be read")
            continue
        try:
            record, found = _read(row, reading)
            digest = content_digest(record, reading.tenant)
        except (ValueError, TypeError) as fault:
            yield Checked(row, error=str(fault).splitlines()[0])
            continue
        except RecursionError:
            yield Checked(row, error=_TOO_DEEP)
            continue
        replaced.update(found)
        if record.id == _NO_ID:
            record = record.model_copy(update={"id": digest})
        yield Checked(row, record, digest)


def _read(row: Row, reading: Reading) -> tuple[EditRecord, Counter[str]]:
    assert row.fields is not None
    if _is_deep(list(row.fields.values()), _DEEPEST):
        raise ValueError(_TOO_DEEP)
    record = reading.mapping.build_record(row.fields, _NO_ID)
    if reading.id_prefix and record.id != _NO_ID:
        record = record.model_copy(update={"id": reading.id_prefix + record.id})
    _check_texts(record, reading.max_text)
    _check_names(record)
    _check_moment(record)
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
        if size > _LONGEST_NAME:
            raise ValueError(f"field '{field}' has {size} bytes; at most {_LONGEST_NAME} are taken")


def _check_moment(record: EditRecord) -> None:
    try:
        if record.created_at is not None:
            record.created_at.astimezone(UTC)
    except OverflowError:
        raise ValueError("field 'created_at' is not in the years 1 to 9999 in UTC; mend it or leave it out") from None


def _is_deep(value: Any, most: int) -> bool:
    """Whether lists and objects stand in one another more often than so."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_is_deep(one, most - 1) for one in inner)
