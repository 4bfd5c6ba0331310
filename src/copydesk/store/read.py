"""Reading the store: its completions with the edit that counts, as `EditRecord`s or as rows of a page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select

from copydesk.data.record import EditRecord, Message
from copydesk.store.tables import completions, edits, memberships

_newer = edits.alias("newer")
IS_LATEST_REVISION = ~exists().where(
    _newer.c.completion_id == edits.c.completion_id, _newer.c.revision > edits.c.revision
)
"""Whether an edit is the one of its completion that counts."""

_FETCH_SIZE = 500  # rows that are in memory at a time


@dataclass(frozen=True)
class LoggedEdit:
    """A completion with the edit that counts, if there is one yet.

    Attributes:
        record: what a training run sees of it; its id is the completion's.
        tenant: whose it is.
        edit_id: of the latest revision; a place in the log to read on from.
        revision: its number, from 1.
        edited_at: when it came.
        cost: what it cost.
        metric: how that was computed.
    """

    record: EditRecord
    tenant: str
    edit_id: str | None
    revision: int | None
    edited_at: datetime | None
    cost: float | None
    metric: str | None

    def to_json(self) -> dict[str, Any]:
        """One row of a log as JSON values; `read_jsonl` reads it, with what is no field of a record as metadata."""
        row = self.record.model_dump(mode="json", exclude={"metadata"}, exclude_none=True)
        row |= {"completion_id": self.record.id, "edit_id": self.edit_id, "edit_revision": self.revision}
        row |= {"edited_at": None if self.edited_at is None else self.edited_at.isoformat()}
        return row | {"cost": self.cost, "metric": self.metric, "metadata": self.record.metadata}


def read_edits(
    connection: Connection,
    *,
    tenant: str | None = None,
    user: str | None = None,
    group: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    policy: str | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    pending: bool = False,
    after: int = 0,
    limit: int | None = None,
) -> Iterator[LoggedEdit]:
    """Completions whose edit has come, in the order in which the latest edit of each came; a stream.

    A completion that is edited again moves to the end, so that who reads on from where they stopped sees it again.
    Memory does not grow with the number of rows.

    Args:
        connection: to the store.
        tenant: of these only; everyone's if `None`.
        user: of these only.
        group: only of users who are in this group now.
        since: only edits that came at that time or later.
        until: only edits that came before that time.
        policy: only answers of this policy.
        at_least: only edits that cost as much.
        at_most: only edits that cost no more.
        pending: also completions without an edit, which no bound on the cost leaves in; the time is then that of the
            answer, and the order that of the answers.
        after: only edits with a number in the log above this one.
        limit: at most so many.
    """
    query = _filter_by(_select_completions(outer=pending), tenant, user).limit(limit)
    query = query.order_by(completions.c.seq if pending else edits.c.seq)
    moment = completions.c.at if pending else edits.c.at
    if after:
        query = query.where(edits.c.seq > after)
    if group is not None:
        query = query.where(is_in_group(group))
    if since is not None:
        query = query.where(moment >= since.timestamp())
    if until is not None:
        query = query.where(moment < until.timestamp())
    if policy is not None:
        query = query.where(completions.c.policy == policy)
    if at_least is not None:
        query = query.where(edits.c.cost >= at_least)
    if at_most is not None:
        query = query.where(edits.c.cost <= at_most)
    for row in connection.execute(query, execution_options={"yield_per": _FETCH_SIZE}):
        yield _to_logged_edit(row)


def is_in_group(group: str) -> ColumnElement[bool]:
    """Whether a completion is of a user who is in this group now."""
    later = memberships.alias("later")
    return exists().where(
        memberships.c.tenant == completions.c.tenant,
        memberships.c.user == completions.c.user,
        memberships.c.group == group,
        ~exists().where(
            later.c.tenant == memberships.c.tenant,
            later.c.user == memberships.c.user,
            later.c.seq > memberships.c.seq,
        ),
    )


def search_edits(
    connection: Connection,
    *,
    tenant: str | None = None,
    words: str = "",
    policy: str | None = None,
    pending: bool = True,
    before: int | None = None,
    limit: int = 20,
) -> tuple[list[LoggedEdit], int | None]:
    """Completions, newest first, for people who look for one.

    Args:
        connection: to the store.
        tenant: of these only; everyone's if `None`.
        words: all of which stand in the context, the response or the edit, whatever their case (of ASCII letters).
        policy: that answered.
        pending: also those without an edit.
        before: only completions with a number in the log below this one.
        limit: at most so many.

    Returns:
        The completions, and the number to go on before; `None` at the end.
    """
    query = _select_completions(outer=pending).order_by(completions.c.seq.desc()).limit(limit + 1)
    query = _filter_by(query, tenant, None)
    if policy is not None:
        query = query.where(completions.c.policy == policy)
    if before is not None:
        query = query.where(completions.c.seq < before)
    for word in words.split():
        # Contexts are kept as JSON, where a quote and what is not ASCII are written in escapes.
        inside = json.dumps(word)[1:-1]
        query = query.where(
            or_(
                func.lower(completions.c.context).contains(inside.lower(), autoescape=True),
                func.lower(completions.c.response).contains(word.lower(), autoescape=True),
                func.lower(edits.c.edit).contains(word.lower(), autoescape=True),
            )
        )
    rows = list(connection.execute(query))
    return [_to_logged_edit(row) for row in rows[:limit]], rows[limit - 1].completion_seq if len(rows) > limit else None


def find_completion(connection: Connection, completion_id: str, tenant: str | None = None) -> LoggedEdit | None:
    """A completion with the edit that counts; `None` when there is none, or it is another tenant's."""
    row = connection.execute(
        _filter_by(_select_completions(outer=True).where(completions.c.id == completion_id), tenant, None)
    ).first()
    return None if row is None else _to_logged_edit(row)


def sequence_of(connection: Connection, edit_id: str, tenant: str | None = None) -> int | None:
    """An edit's number in the log; `None` when there is none, or it is another tenant's."""
    query = select(edits.c.seq).join(completions, completions.c.id == edits.c.completion_id)
    query = query.where(edits.c.id == edit_id)
    if tenant is not None:
        query = query.where(completions.c.tenant == tenant)
    return connection.execute(query).scalar()


def read_context(row: Row[Any]) -> str | tuple[Message, ...]:
    """The context of a completion: as it was imported, or as `build_context` makes it of a request."""
    context = json.loads(row.context)
    if row.imported is None:
        return build_context(context)
    return context if isinstance(context, str) else tuple(Message.model_validate(message) for message in context)


def build_context(messages: Sequence[Mapping[str, Any]]) -> str | tuple[Message, ...]:
    """The messages of a request as a record's context: one message of a user alone is its text."""
    turns = [
        Message.model_validate({**message, "content": extract_text(message.get("content"))}) for message in messages
    ]
    return turns[0].content if len(turns) == 1 and turns[0].role == "user" else tuple(turns)


def extract_text(content: Any) -> str:
    """The text of a message's content: a string, nothing, or a list of parts, of which some are text."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _select_completions(outer: bool = False) -> Select[Any]:
    joined = completions.join(edits, and_(edits.c.completion_id == completions.c.id, IS_LATEST_REVISION), isouter=outer)
    return select(
        completions,
        completions.c.seq.label("completion_seq"),
        edits.c.id.label("edit_id"),
        edits.c.at.label("edited_at"),
        edits.c.revision,
        edits.c.edit,
        edits.c.cost,
        edits.c.metric,
    ).select_from(joined)


def _filter_by(query: Select[Any], tenant: str | None, user: str | None) -> Select[Any]:
    if tenant is not None:
        query = query.where(completions.c.tenant == tenant)
    return query if user is None else query.where(completions.c.user == user)


def _to_logged_edit(row: Row[Any]) -> LoggedEdit:
    record = EditRecord(
        id=row.id,
        context=read_context(row),
        response=row.response,
        edit=row.edit,
        user=row.user,
        policy=row.policy or None,
        # What an imported row said beside this stands there as it was (`copydesk.store.imports`).
        **(_get_request_fields(row) if row.imported is None else json.loads(row.imported)),
    )
    edited_at = None if row.edited_at is None else datetime.fromtimestamp(row.edited_at, UTC)
    return LoggedEdit(record, row.tenant, row.edit_id, row.revision, edited_at, row.cost, row.metric)


def _get_request_fields(row: Row[Any]) -> dict[str, Any]:
    """What else is known of an answer that was asked for here."""
    return {
        "propensity": row.propensity,
        "created_at": datetime.fromtimestamp(row.at, UTC),
        "metadata": {
            "requested": row.requested,
            "finish_reason": row.finish_reason,
            "parameters": json.loads(row.parameters),
        },
    }
