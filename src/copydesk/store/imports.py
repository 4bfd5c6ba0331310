"""Appends imported rows to the log: each once, and losslessly."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Literal

from sqlalchemy import Connection, and_, select, update

from copydesk.data.record import EditRecord
from copydesk.store import tables
from copydesk.store.read import read_context
from copydesk.store.transaction import Transaction

ImportOutcome = Literal["added", "updated", "known", "repeated", "clash"]
"""Outcome of a row: stored; its edit stored as a revision of a stored row; stored before this import; repeated within
this import; or refused, since its id belongs to another row."""


@dataclass(frozen=True)
class ImportedRow:
    """A record with its content digest and edit cost; `None` while the edit is pending."""

    record: EditRecord
    digest: str
    cost: float | None


def compute_content_digest(record: EditRecord, tenant: str) -> str:
    """Compute 32 hex digits that two rows of a tenant share if they are equal in everything except the id.

    Raises:
        ValueError: the metadata contains NaN or infinity, or a text contains half of a surrogate pair.
        TypeError: the metadata contains something that is not a JSON value.
    """
    created = None if record.created_at is None else record.created_at.astimezone(UTC).isoformat()
    content = [
        tenant,
        _serialize_context(record),
        record.response,
        record.edit,
        record.user,
        record.policy,
        record.propensity,
        created,
        record.metadata,
    ]
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def append_imported_rows(
    tx: Transaction,
    rows: Sequence[ImportedRow],
    metric: str,
    tenant: str,
    *,
    since: int,
    at: float,
    strict: bool = False,
) -> list[ImportOutcome]:
    """Append the rows that are not stored yet, in their order.

    A row whose content is already stored is skipped. A row with the id, context, response and user of a stored row but
    another edit is a later edit of it: the edit becomes a revision. A user that was unknown before, as for a response
    not yet edited, is filled in.

    Args:
        tx: the open transaction.
        rows: a batch of any size.
        metric: name of the edit cost in `cost`.
        tenant: tenant of the rows.
        since: number in the log when the import began; rows above it belong to this import.
        at: time of rows without a timestamp, in seconds since 1970.
        strict: stop at the first row that clashes.

    Returns:
        The outcome of each row, up to the one that stopped it.
    """
    completions, edits = tables.completions, tables.edits
    seen = find_known_digests(tx.connection, [row.digest for row in rows])
    ids = _find_known_values(tx.connection, completions.c.id, (row.record.id for row in rows))
    new_completions: list[dict[str, Any]] = []
    new_edits: list[dict[str, Any]] = []
    outcomes: list[ImportOutcome] = []
    seq = tx.seq

    def write() -> None:
        tx.append_all(completions, new_completions, seq)
        tx.append_all(edits, new_edits, seq)
        new_completions.clear()
        new_edits.clear()

    for row in rows:
        record = row.record
        if (known := seen.get(row.digest)) is not None:
            outcomes.append(outcome_of(known, since))
            continue
        moment = at if record.created_at is None else record.created_at.timestamp()
        if record.id in ids:
            write()  # the row to compare with may be in this batch
            outcome, revision = _classify_known_id(tx.connection, row, tenant)
            outcomes.append(outcome_of(ids[record.id], since) if outcome == "known" else outcome)
            if outcome == "clash" and strict:
                break
            if outcome == "updated":
                _set_unknown_user(tx.connection, record)
                seq += 1
                seen[row.digest] = seq
                new_edits.append(_build_edit_row(row, metric, seq, moment, *revision))
            continue
        seq += 1
        seen[row.digest] = ids[record.id] = seq
        new_completions.append(_build_completion_row(row, tenant, seq, moment))
        if record.edit is not None:
            seq += 1
            new_edits.append(_build_edit_row(row, metric, seq, moment, 1, None))
        outcomes.append("added")
    write()
    return outcomes


def outcome_of(seq: int, since: int) -> ImportOutcome:
    """The outcome of a row whose content is already stored under `seq`, in an import that began at `since`."""
    return "known" if seq <= since else "repeated"


def find_known_digests(connection: Connection, digests: Sequence[str]) -> dict[str, int]:
    """Find stored digests, of rows or of revisions, with their numbers in the log."""
    edits = tables.edits
    query = select(edits.c.id, edits.c.seq).where(edits.c.id.in_([_build_edit_id(digest) for digest in digests]))
    numbers = {name: seq for name, seq in connection.execute(query)}
    revisions = {digest: numbers[name] for digest in digests if (name := _build_edit_id(digest)) in numbers}
    return revisions | _find_known_values(connection, tables.completions.c.digest, digests)


def _build_edit_id(digest: str) -> str:
    return f"edit-{digest}"


def _find_known_values(connection: Connection, column: Any, values: Iterable[str]) -> dict[str, int]:
    """Find stored values with the numbers of their rows."""
    query = select(column, tables.completions.c.seq).where(column.in_(list(values)))
    return {value: seq for value, seq in connection.execute(query)}


def _classify_known_id(
    connection: Connection, row: ImportedRow, tenant: str
) -> tuple[ImportOutcome, tuple[int, float | None]]:
    """Classify a row whose id is stored; for an update, also the revision's number and the previous cost."""
    completions, edits = tables.completions, tables.edits
    record = row.record
    there = connection.execute(select(completions).where(completions.c.id == record.id)).one()
    of_store = there.tenant, read_context(there), there.response
    if of_store != (tenant, record.context, record.response) or there.user not in (None, record.user):
        return "clash", (0, None)
    query = select(edits.c.edit, edits.c.cost, edits.c.revision).where(edits.c.completion_id == record.id)
    revisions = connection.execute(query.order_by(edits.c.revision)).all()
    if record.edit is None or any(one.edit == record.edit for one in revisions):
        return ("known" if there.user == record.user else "clash"), (0, None)
    if not revisions:
        return "updated", (1, None)
    return "updated", (revisions[-1].revision + 1, float(revisions[-1].cost))


def _set_unknown_user(connection: Connection, record: EditRecord) -> None:
    completions = tables.completions
    unknown = and_(completions.c.id == record.id, completions.c.user.is_(None))
    connection.execute(update(completions).where(unknown).values(user=record.user))


def _build_completion_row(row: ImportedRow, tenant: str, seq: int, at: float) -> dict[str, Any]:
    record = row.record
    rest: dict[str, Any] = {}
    if record.propensity is not None:
        rest["propensity"] = record.propensity
    if record.created_at is not None:
        rest["created_at"] = record.created_at.isoformat()  # with its own time zone, and to the microsecond
    if record.metadata:
        rest["metadata"] = record.metadata
    return {
        "seq": seq,
        "at": at,
        "id": record.id,
        "tenant": tenant,
        "user": record.user,
        "requested": record.policy or "",
        "policy": record.policy or "",
        "propensity": 1.0 if record.propensity is None else record.propensity,
        "round": None,
        "context": _dump_json(_serialize_context(record)),
        "parameters": "{}",
        "response": record.response,
        "finish_reason": None,
        "usage": None,
        "imported": _dump_json(rest),
        "digest": row.digest,
    }


def _build_edit_row(
    row: ImportedRow, metric: str, seq: int, at: float, revision: int, previous: float | None
) -> dict[str, Any]:
    return {
        "seq": seq,
        "at": at,
        "id": _build_edit_id(row.digest),
        "completion_id": row.record.id,
        "revision": revision,
        "edit": row.record.edit,
        "cost": row.cost,
        "previous_cost": previous,
        "metric": metric,
    }


def _serialize_context(record: EditRecord) -> Any:
    if isinstance(record.context, str):
        return record.context
    return [message.model_dump(mode="json") for message in record.context]


def _dump_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
