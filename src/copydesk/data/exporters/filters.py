"""Filters over the records of a log file, and the counts of an export.

A store filters in SQL instead (`copydesk.store.read_edits`).
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
    """Conditions on a record; `None` is no condition.

    Attributes:
        user: the user who edited.
        policy: the policy that answered.
        since: earliest `created_at`.
        until: `created_at` is before this time.
        at_least: smallest edit cost.
        at_most: largest edit cost.
        pending: whether records without an edit pass; they never do where the cost is bounded.
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
    """The records that pass a filter, in their order; a stream.

    Args:
        records: the records of the log.
        wanted: the filter.
        left_out: counts the other records by reason.
        metric: the edit cost; the default one if `None`. It is computed only where it is bounded.
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
    """The reason why a record does not pass, its cost aside."""
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
        rows: rows written; a KTO data set has two for a record that was changed.
        records: records exported.
        left_out: records not exported, by reason.
        cut_messages: records of a data set whose messages lost keys other than role and content.
    """

    rows: int = 0
    records: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    cut_messages: int = 0

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return {**self.__dict__, "left_out": dict(self.left_out)}
