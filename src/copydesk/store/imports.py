"""Taking rows of other logs into the store: each once, and so that it comes out as it went in."""

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
"""What became of a row: stored; its edit stored as a revision of one that is there; there before this import began;
there since, from an earlier row; or refused, as its id is that of another row."""


@dataclass(frozen=True)
class ImportedRow:
    """A record with the digest of its content, and what its edit cost; `None` while that is pending."""

    record: EditRecord
    digest: str
    cost: float | None


def compute_content_digest(record: EditRecord, tenant: str) -> str:
    """32 hex digits that two rows of a tenant share when they are the same in everything but the id.

    Raises:
        ValueError: the metadata holds what JSON cannot, or a text half of a surrogate pair.
        TypeError: the metadata holds something that is no JSON value.
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
    """Append the rows that are not there yet, in their order.

    A row whose content is there already is not stored again. One whose id is there, with the same context, response
    and user but another edit, is that row edited since: its edit becomes a revision. Where the user was not known
    before, as that of a response nobody had touched yet, they are now.

    Args:
        tx: the open transaction.
        rows: any number; a batch.
        metric: the name of the edit cost that `cost` was computed with.
        tenant: whose they are.
        since: the log's number when the import began; rows above it came with this import.
        at: when rows are said to have come that do not say it themselves, in seconds since 1970.
        strict: whether to end at the first row that clashes.

    Returns:
        What became of each row, up to the one that ended it.
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
            write()  # what is compared with may be of this batch
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
    """What a row is that says what the one with number `seq` in the log said, in an import that began at `since`."""
    return "known" if seq <= since else "repeated"


def find_known_digests(connection: Connection, digests: Sequence[str]) -> dict[str, int]:
    """Those of the digests that are there, as a row or as a revision of one, and the number they have in the log."""
    edits = tables.edits
    query = select(edits.c.id, edits.c.seq).where(edits.c.id.in_([_build_edit_id(digest) for digest in digests]))
    numbers = {name: seq for name, seq in connection.execute(query)}
    revisions = {digest: numbers[name] for digest in digests if (name := _build_edit_id(digest)) in numbers}
    return revisions | _find_known_values(connection, tables.completions.c.digest, digests)


def _build_edit_id(digest: str) -> str:
    return f"edit-{digest}"


def _find_known_values(connection: Connection, column: Any, values: Iterable[str]) -> dict[str, int]:
    """Those of the values that are there, and the number of their row."""
    query = select(column, tables.completions.c.seq).where(column.in_(list(values)))
    return {value: seq for value, seq in connection.execute(query)}


def _classify_known_id(
    connection: Connection, row: ImportedRow, tenant: str
) -> tuple[ImportOutcome, tuple[int, float | None]]:
    """What a row means whose id is there; of an update, the revision's number and the cost of the one before."""
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
