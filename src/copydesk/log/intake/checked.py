"""Rows as records: read through the field mapping, kept within the limits, redacted if that is wanted."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from copydesk.log.mapping import FieldMapping
from copydesk.log.record import EditRecord
from copydesk.log.sources.source import Row
from copydesk.log.store.imports import content_digest

Redact = Callable[[EditRecord], tuple[EditRecord, Counter[str]]]

_NO_ID = "?"  # stands for the id until the content is known


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
    fault: str = ""


def checked(rows: Iterable[Row], reading: Reading, replaced: Counter[str]) -> Iterator[Checked]:
    """Read rows one by one; what is redacted is counted in `replaced` by kind."""
    for row in rows:
        if row.fields is None:
            yield Checked(row, fault=row.fault or "cannot be read")
            continue
        try:
            record, found = _read(row, reading)
            digest = content_digest(record, reading.tenant)
        except (ValueError, TypeError) as fault:
            yield Checked(row, fault=str(fault).splitlines()[0])
            continue
        except RecursionError:
            yield Checked(row, fault="lists or objects are nested too deeply; flatten the row")
            continue
        replaced.update(found)
        if record.id == _NO_ID:
            record = record.model_copy(update={"id": digest})
        yield Checked(row, record, digest)


def _read(row: Row, reading: Reading) -> tuple[EditRecord, Counter[str]]:
    assert row.fields is not None
    record = reading.mapping.record(row.fields, _NO_ID)
    if reading.id_prefix and record.id != _NO_ID:
        record = record.model_copy(update={"id": reading.id_prefix + record.id})
    _check_texts(record, reading.max_text)
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
