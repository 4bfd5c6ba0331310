"""Which records of a log file go out; a store chooses its rows itself (`copydesk.store.read_edits`).

What an export came to.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord


@dataclass(frozen=True)
class RecordFilter:
    """What a record has to be; `None` asks for nothing.

    Attributes:
        user: who edited.
        policy: which policy answered.
        since: `created_at` is that time or later.
        until: `created_at` is before that time.
        at_least: the edit costs as much.
        at_most: the edit costs no more.
        pending: whether records without an edit go out, which no bound on the cost leaves in.
    """

    user: str | None = None
    policy: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    at_least: float | None = None
    at_most: float | None = None
    pending: bool = False


def filter_records(
    records: Iterable[EditRecord], wanted: RecordFilter, left_out: Counter[str], metric: EditCost | None = None
) -> Iterator[EditRecord]:
    """The records that are wanted, in their order; a stream.

    Args:
        records: of the log.
        wanted: which.
        left_out: counts the others by why they are.
        metric: the edit cost; the usual one if `None`. It is computed only where it is bounded.
    """
    bounded = wanted.at_least is not None or wanted.at_most is not None
    kept = _filter_by_fields(records, wanted, bounded, left_out)
    if not bounded:
        yield from kept
        return
    for record, cost in (metric or EditCost()).iter_costs(kept):
        if cost is not None and _is_cost_within(cost, wanted.at_least, wanted.at_most):
            yield record
        else:
            left_out["another cost"] += 1


def _filter_by_fields(
    records: Iterable[EditRecord], wanted: RecordFilter, bounded: bool, left_out: Counter[str]
) -> Iterator[EditRecord]:
    for record in records:
        if why := _get_exclusion_reason(record, wanted, bounded):
            left_out[why] += 1
        else:
            yield record


def _get_exclusion_reason(record: EditRecord, wanted: RecordFilter, bounded: bool) -> str | None:
    """Why a record does not go out, its cost aside."""
    if wanted.user is not None and record.user != wanted.user:
        return "another user"
    if wanted.policy is not None and record.policy != wanted.policy:
        return "another policy"
    if wanted.since is not None or wanted.until is not None:
        at = record.created_at
        if at is None:
            return "no created_at"
        if (wanted.since is not None and at < wanted.since) or (wanted.until is not None and at >= wanted.until):
            return "another time"
    return "pending" if record.pending and (bounded or not wanted.pending) else None


def _is_cost_within(cost: float, at_least: float | None, at_most: float | None) -> bool:
    return (at_least is None or cost >= at_least) and (at_most is None or cost <= at_most)


@dataclass
class ExportResult:
    """Counts, filled while an export runs.

    Attributes:
        rows: written; a KTO set has two for a record that was changed.
        records: that went out.
        left_out: records that did not, by why.
        cut_messages: records in a set whose messages have more than role and content, which did not go out.
    """

    rows: int = 0
    records: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    cut_messages: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.__dict__, "left_out": dict(self.left_out)}
