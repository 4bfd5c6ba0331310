"""The import itself: a stream of rows goes in batches into the store, each row once."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import select

from copydesk.errors import InputError
from copydesk.log.cost import EditCost
from copydesk.log.intake.checked import Checked, Reading, checked
from copydesk.log.intake.rejected import Rejected
from copydesk.log.sources.source import Row, Source
from copydesk.log.store import EditStore, tables
from copydesk.log.store.imports import ImportedRow, Outcome, add_rows, known_digests, told

Costed = list[tuple[Checked, Outcome | None, float | None]]
"""A batch with what is known of each row before it is written, and its cost."""

Settled = list[tuple[Checked, Outcome | None]]
"""A batch with what became of each row; `None` where it is bad."""

BATCH = 1_000
"""Rows to a transaction: what a kill can cost, and how long another writer waits."""

_AHEAD = 2  # batches that are read while one is costed and one is written


@dataclass
class Intake:
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


def take_in(
    source: Source,
    rows: Iterable[Row],
    reading: Reading,
    store: EditStore,
    metric: EditCost,
    rejected: Rejected,
    *,
    strict: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Intake:
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
    done = Intake()
    at, name = time.time(), metric.name

    def costed(batch: list[Checked]) -> Costed:
        """The costs of a batch; rows that are there already need none."""
        good = [one for one in batch if one.record is not None]
        with store.begin_read() as connection:
            there = known_digests(connection, [one.digest for one in good])
        fresh = [one for one in good if one.digest not in there and one.record and one.record.edit is not None]
        costs = iter(metric.cost_batch((one.record.response, str(one.record.edit)) for one in fresh if one.record))
        known = {id(one): next(costs) for one in fresh}
        before = {digest: told(seq, since) for digest, seq in there.items()}
        return [(one, before.get(one.digest), known.get(id(one))) for one in batch]

    clashed = False

    def written(batch: Costed) -> Settled:
        nonlocal clashed
        if clashed and strict:
            return []
        new = [(one, cost) for one, outcome, cost in batch if one.record is not None and outcome is None]
        with store.begin_write() as tx:
            imported = [ImportedRow(one.record, one.digest, cost) for one, cost in new if one.record is not None]
            outcomes = iter(add_rows(tx, imported, name, reading.tenant, since=since, at=at, strict=strict))
        settled: Settled = []
        for one, before, _ in batch:
            outcome = before or (None if one.record is None else next(outcomes))
            settled.append((one, outcome))
            if outcome == "clash" and strict:
                clashed = True
                break
        return settled

    def settle(batch: Settled) -> None:
        """Count what became of a batch, in the order of its rows."""
        for one, outcome in batch:
            done.rows += 1
            if one.record is None or outcome is None or outcome == "clash":
                done.rejected += 1
                rejected.add(one.row, _fault(one))
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

    stream = checked(rows, reading, done.replaced)
    with ThreadPoolExecutor(1) as costing, ThreadPoolExecutor(1) as writing:
        waiting: deque[Future[Settled]] = deque()
        try:
            for batch in _batches(stream, BATCH, strict):
                waiting.append(writing.submit(_after, costing.submit(costed, batch), written))
                while len(waiting) > _AHEAD:
                    settle(waiting.popleft().result())
            while waiting:
                settle(waiting.popleft().result())
        except BaseException:
            for future in waiting:
                future.cancel()
            raise
    done.seconds = time.monotonic() - began
    return done


def _after(future: Future[Costed], then: Callable[[Costed], Settled]) -> Settled:
    """What follows on a result, once that is there."""
    return then(future.result())


_MEND_ID = "give the file's ids a prefix of their own with --id-prefix, or leave ids out with --id none"


def _batches(stream: Iterator[Checked], size: int, strict: bool) -> Iterator[list[Checked]]:
    """The stream in batches; where the first bad row ends it, that row ends its batch."""
    while batch := list(islice(_until_bad(stream) if strict else stream, size)):
        yield batch
        if strict and batch[-1].record is None:
            return


def _until_bad(stream: Iterator[Checked]) -> Iterator[Checked]:
    for one in stream:
        yield one
        if one.record is None:
            return


def _fault(one: Checked) -> str:
    if one.record is None:
        return one.error
    return f"field 'id': {one.record.id!r} is in the store already with other texts or another user; {_MEND_ID}"
