"""The import itself: a stream of rows goes in batches into the store, each row once."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import select

from copydesk.data.cost import EditCost
from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.errors import InputError
from copydesk.store import EditStore, tables
from copydesk.store.checked import ParsedRow, RowParser, parse_rows
from copydesk.store.imports import ImportedRow, ImportOutcome, append_imported_rows, find_known_digests, outcome_of
from copydesk.store.rejected import RejectedRowWriter

CostedBatch = list[tuple[ParsedRow, ImportOutcome | None, float | None]]
"""A batch with what is known of each row before it is written, and its cost."""

WrittenBatch = list[tuple[ParsedRow, ImportOutcome | None]]
"""A batch with what became of each row; `None` where it is bad."""

IMPORT_BATCH_SIZE = 1_000
"""Rows to a transaction: what a kill can cost, and how long another writer waits."""

_PREFETCHED_BATCHES = 2  # batches that are read while one is costed and one is written


@dataclass
class ImportResult:
    """What an import came to.

    Attributes:
        rows: how many were read.
        added: stored now.
        updated: rows that were there, whose edit is new and became a revision.
        known: there before, with the same content.
        repeated: rows of this import that say what an earlier one of it said.
        rejected: bad rows.
        pending: of those added, how many have no edit yet.
        replaced: what was redacted, by kind.
        seconds: how long it took.
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
    """Read rows, compute the costs of their edits, and append those that are not there yet to the store.

    Batches are committed one after the other and in order. So an import that is interrupted or killed leaves the first
    so many rows of the source in the store, and when it is run again these are found to be there and the rest is added.
    Memory does not grow with the number of rows.

    Args:
        source: what the rows are of, for messages.
        rows: of the source, from its beginning.
        reading: how rows become records.
        store: where they go.
        metric: the edit cost.
        rejected: where bad rows go.
        strict: whether the first bad row ends it; rows before it are stored.
        progress: is told how many rows were read.

    Raises:
        InputError: `strict`, and a row is bad; the store cannot be written to.
    """
    began = time.monotonic()
    with store.begin_read() as connection:
        since = int(connection.execute(select(tables.clock.c.seq)).scalar_one())
    done = ImportResult()
    at, name = time.time(), metric.name

    def costed(batch: list[ParsedRow]) -> CostedBatch:
        """The costs of a batch; rows that are there already need none."""
        good = [one for one in batch if one.record is not None]
        with store.begin_read() as connection:
            there = find_known_digests(connection, [one.digest for one in good])
        fresh = [one for one in good if one.digest not in there and one.record and one.record.edit is not None]
        costs = iter(metric.cost_batch((one.record.response, str(one.record.edit)) for one in fresh if one.record))
        known = {id(one): next(costs) for one in fresh}
        before = {digest: outcome_of(seq, since) for digest, seq in there.items()}
        return [(one, before.get(one.digest), known.get(id(one))) for one in batch]

    clashed = False

    def written(batch: CostedBatch) -> WrittenBatch:
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
        """Count what became of a batch, in the order of its rows."""
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
            place, fault = rejected.samples[0]
            raise InputError(
                f"{source.name}:{place}: {fault} ({done.added + done.updated} rows are stored, and will not be stored "
                "twice: mend this one and run again)"
            )

    stream = parse_rows(rows, reading, done.replaced)
    with ThreadPoolExecutor(1) as costing, ThreadPoolExecutor(1) as writing:
        waiting: deque[Future[WrittenBatch]] = deque()
        try:
            for batch in _iter_batches(stream, IMPORT_BATCH_SIZE, strict):
                waiting.append(writing.submit(_wait_then, costing.submit(costed, batch), written))
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
    """What follows on a result, once that is there."""
    return then(future.result())


_FIX_ID = "give the file's ids a prefix of their own with --id-prefix, or leave ids out with --id none"


def _iter_batches(stream: Iterator[ParsedRow], size: int, strict: bool) -> Iterator[list[ParsedRow]]:
    """The stream in batches; where the first bad row ends it, that row ends its batch."""
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
    return f"field 'id': {one.record.id!r} is in the store already with other texts or another user; {_FIX_ID}"
