"""Imports a stream of rows into the store: parses and redacts, costs, and appends in batches, each row once.

Rejected rows go to a file of their own with their place and the reason.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from copydesk.data.cost import EditCost
from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.mapping import FieldMapping
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.store import EditStore
from copydesk.store.imports import (
    ImportedRow,
    ImportOutcome,
    append_imported_rows,
    compute_content_digest,
    find_known_digests,
    outcome_of,
)
from copydesk.store.transaction import read_last_seq
from copydesk.utils.atomic import staged_file

RedactFunction = Callable[[EditRecord], tuple[EditRecord, Counter[str]]]

_PLACEHOLDER_ID = "?"  # the id until the content digest is known
_MAX_NAME_BYTES = 2_000  # PostgreSQL's indexes allow a little more
_MAX_DEPTH = 200  # nested lists and objects, well below the recursion limit of Python's json module
_TOO_DEEP = "lists or objects are nested too deeply; flatten the row"


@dataclass(frozen=True)
class RowParser:
    """Settings for parsing rows.

    Attributes:
        mapping: maps keys to record fields.
        tenant: tenant of the rows; part of their digests.
        id_prefix: prefix for the ids that rows have.
        max_text: longest context, response or edit, in characters.
        redact: replaces private data; `None` to keep texts as they are.
    """

    mapping: FieldMapping
    tenant: str
    id_prefix: str = ""
    max_text: int = 1_000_000
    redact: RedactFunction | None = None


@dataclass(frozen=True)
class ParsedRow:
    """A parsed row: a record with its content digest, or the reason for its rejection."""

    row: SourceRow
    record: EditRecord | None = None
    digest: str = ""
    error: str = ""


def parse_rows(rows: Iterable[SourceRow], reading: RowParser, replaced: Counter[str]) -> Iterator[ParsedRow]:
    """Parse rows one by one; counts redactions by kind in `replaced`."""
    for row in rows:
        if row.fields is None:
            yield ParsedRow(row, error=row.error or "cannot be read")
            continue
        try:
            record, found = _parse_row(row, reading)
            digest = compute_content_digest(record, reading.tenant)
        except (ValueError, TypeError) as exc:
            yield ParsedRow(row, error=str(exc).splitlines()[0])
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
    for name, size in (
        ("context", sum(map(len, texts))),
        ("response", len(record.response)),
        ("edit", len(record.edit or "")),
    ):
        if size > most:
            raise ValueError(f"field '{name}' has {size} characters; at most {most} are taken (--max-text)")
    for name in ("id", "user", "policy", "response", "edit"):
        if "\x00" in (getattr(record, name) or ""):
            raise ValueError(f"field '{name}' holds a NUL character, which no text in a database can; remove it")


def _check_names(record: EditRecord) -> None:
    for name in ("id", "user", "policy"):
        size = len((getattr(record, name) or "").encode())
        if size > _MAX_NAME_BYTES:
            raise ValueError(f"field '{name}' has {size} bytes; at most {_MAX_NAME_BYTES} are taken")


def _check_timestamp(record: EditRecord) -> None:
    try:
        if record.created_at is not None:
            record.created_at.astimezone(UTC)
    except OverflowError:
        raise ValueError("field 'created_at' is not in the years 1 to 9999 in UTC; fix it or leave it out") from None


def _exceeds_depth(value: Any, most: int) -> bool:
    """Whether lists and objects are nested more than `most` levels deep."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return most == 0 or any(_exceeds_depth(one, most - 1) for one in inner)


class RejectedRowWriter:
    """Writes rejected rows to a file.

    Attributes:
        path: path of the file.
        count: number of rejected rows so far.
        samples: the first few, as `(place, reason)`.
    """

    MAX_SAMPLES = 5

    def __init__(self, path: Path, unit: str, file: TextIO) -> None:
        self.path = path
        self.count = 0
        self.samples: list[tuple[int, str]] = []
        self._unit = unit
        self._file = file

    def add(self, row: SourceRow, reason: str) -> None:
        """Write a row with the reason for its rejection."""
        self.count += 1
        if len(self.samples) < self.MAX_SAMPLES:
            self.samples.append((row.number, reason))
        kept: dict[str, Any] = {self._unit: row.number, "reason": reason}
        if row.fields is not None:
            kept["row"] = row.fields
        if row.raw is not None:
            kept["raw"] = row.raw
        # ASCII and `str`: a row may be rejected because of content that JSON cannot represent.
        try:
            line = json.dumps(kept, default=str)
        except RecursionError:  # the row is nested too deeply for json
            line = json.dumps({key: value for key, value in kept.items() if key != "row"})
        self._file.write(line + "\n")


class _NothingRejected(Exception):
    """No row was rejected: leave no file."""


@contextmanager
def open_rejected_rows(path: Path, unit: str) -> Iterator[RejectedRowWriter]:
    """Open a file for rejected rows that replaces `path` when the block ends.

    If no row was rejected, the file of an earlier import is removed: its rows were fixed.
    """
    try:
        with staged_file(path, tidy=True) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            temporary.chmod(0o600)  # it holds texts, as the store does
            rejected = RejectedRowWriter(path, unit, file)
            yield rejected
            if not rejected.count:
                raise _NothingRejected
    except _NothingRejected:
        path.unlink(missing_ok=True)


CostedBatch = list[tuple[ParsedRow, ImportOutcome | None, float | None]]
"""A batch before writing: each row with its outcome if already stored, and its cost."""

WrittenBatch = list[tuple[ParsedRow, ImportOutcome | None]]
"""A batch after writing: each row with its outcome; `None` for an invalid row."""

IMPORT_BATCH_SIZE = 1_000
"""Rows per transaction; bounds the work a kill can lose and the wait of other writers."""

_PREFETCHED_BATCHES = 2  # batches parsed while one is costed and one is written


@dataclass
class ImportResult:
    """Counts of an import.

    Attributes:
        rows: rows read.
        added: rows stored.
        updated: stored rows whose new edit became a revision.
        known: rows stored before, with the same content.
        repeated: rows with the content of an earlier row of this import.
        rejected: invalid rows.
        pending: added rows without an edit.
        replaced: redactions by kind.
        seconds: duration.
    """

    rows: int = 0
    added: int = 0
    updated: int = 0
    known: int = 0
    repeated: int = 0
    rejected: int = 0
    pending: int = 0
    replaced: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.__dict__, "replaced": dict(self.replaced)}


def import_rows(
    source: ImportSource,
    rows: Iterable[SourceRow],
    reading: RowParser,
    store: EditStore,
    metric: EditCost,
    rejected: RejectedRowWriter,
    *,
    strict: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> ImportResult:
    """Parse rows, compute the costs of their edits, and append those not stored yet.

    Batches are committed in order. An import that is interrupted or killed leaves a prefix of the source in the store;
    running it again skips these rows and adds the rest. Memory does not grow with the number of rows.

    Args:
        source: source of the rows, named in messages.
        rows: rows of the source, from its beginning.
        reading: settings for parsing.
        store: store to append to.
        metric: the edit cost.
        rejected: receives invalid rows.
        strict: stop at the first invalid row; rows before it are stored.
        progress: called with the number of rows read so far.

    Raises:
        InputError: a row is invalid and `strict` is set, or the store cannot be written to.
    """
    began = time.monotonic()
    with store.begin_read() as connection:
        since = read_last_seq(connection)
    done = ImportResult()
    at, name = time.time(), metric.name

    def compute_costs(batch: list[ParsedRow]) -> CostedBatch:
        """Compute the costs of a batch, except for rows already stored."""
        good = [one for one in batch if one.record is not None]
        with store.begin_read() as connection:
            there = find_known_digests(connection, [one.digest for one in good])
        fresh = [one for one in good if one.digest not in there and one.record and one.record.edit is not None]
        costs = iter(metric.cost_batch((one.record.response, str(one.record.edit)) for one in fresh if one.record))
        known = {id(one): next(costs) for one in fresh}
        before = {digest: outcome_of(seq, since) for digest, seq in there.items()}
        return [(one, before.get(one.digest), known.get(id(one))) for one in batch]

    clashed = False

    def write_batch(batch: CostedBatch) -> WrittenBatch:
        nonlocal clashed
        if clashed and strict:
            return []
        new = [(one, cost) for one, outcome, cost in batch if one.record is not None and outcome is None]
        with store.begin_write() as tx:
            imported = [ImportedRow(one.record, one.digest, cost) for one, cost in new if one.record is not None]
            outcomes = iter(append_imported_rows(tx, imported, name, reading.tenant, since=since, at=at, strict=strict))
        settled: WrittenBatch = []
        for one, before, _ in batch:
            outcome = before or (None if one.record is None else next(outcomes))
            settled.append((one, outcome))
            if outcome == "clash" and strict:
                clashed = True
                break
        return settled

    def settle(batch: WrittenBatch) -> None:
        """Count the outcomes of a batch, in the order of its rows."""
        for one, outcome in batch:
            done.rows += 1
            if one.record is None or outcome is None or outcome == "clash":
                done.rejected += 1
                rejected.add(one.row, _get_rejection_reason(one))
            else:
                setattr(done, outcome, getattr(done, outcome) + 1)
                done.pending += outcome == "added" and one.record.edit is None
        progress(done.rows)
        if strict and rejected.samples:
            place, reason = rejected.samples[0]
            raise InputError(
                f"{source.name}:{place}: {reason} ({done.added + done.updated} rows are stored and will not be stored "
                "twice: fix this one and run again)"
            )

    stream = parse_rows(rows, reading, done.replaced)
    with ThreadPoolExecutor(1) as costing, ThreadPoolExecutor(1) as writing:
        waiting: deque[Future[WrittenBatch]] = deque()
        try:
            for batch in _iter_batches(stream, IMPORT_BATCH_SIZE, strict):
                waiting.append(writing.submit(_wait_then, costing.submit(compute_costs, batch), write_batch))
                while len(waiting) > _PREFETCHED_BATCHES:
                    settle(waiting.popleft().result())
            while waiting:
                settle(waiting.popleft().result())
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
    done.seconds = time.monotonic() - began
    return done


def _wait_then(future: Future[CostedBatch], then: Callable[[CostedBatch], WrittenBatch]) -> WrittenBatch:
    """Wait for a result and call `then` with it."""
    return then(future.result())


_FIX_ID = "give the file's ids a prefix of their own with --id-prefix, or leave ids out with --id none"


def _iter_batches(stream: Iterator[ParsedRow], size: int, strict: bool) -> Iterator[list[ParsedRow]]:
    """Split the stream into batches; if `strict`, it ends with the first invalid row."""
    while batch := list(islice(_iter_until_rejected(stream) if strict else stream, size)):
        yield batch
        if strict and batch[-1].record is None:
            return


def _iter_until_rejected(stream: Iterator[ParsedRow]) -> Iterator[ParsedRow]:
    for one in stream:
        yield one
        if one.record is None:
            return


def _get_rejection_reason(one: ParsedRow) -> str:
    if one.record is None:
        return one.error
    return f"field 'id': {one.record.id!r} is already in the store with other texts or another user; {_FIX_ID}"
