"""Reads completions with their current edit, as streams for training and as pages for people."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select

from copydesk.data.record import EditRecord, Message
from copydesk.store.errors import DamagedDataError, parse_stored_json
from copydesk.store.tables import completions, edits, memberships

_newer = edits.alias("newer")
IS_LATEST_REVISION = ~exists().where(
    _newer.c.completion_id == edits.c.completion_id, _newer.c.revision > edits.c.revision
)
"""Condition: an edit is the latest revision of its completion."""

_FETCH_SIZE = 500  # rows in memory at a time


@dataclass(frozen=True)
class LoggedEdit:
    """A completion with its current edit, if there is one.

    Attributes:
        record: the record for training; its id is the completion's.
        tenant: tenant of the completion.
        edit_id: id of the latest revision, also a cursor to continue reading.
        revision: number of the revision, from 1.
        edited_at: time of the revision.
        cost: cost of the edit.
        metric: name of the edit cost.
        key: id of the API key of the request.
    """

    record: EditRecord
    tenant: str
    edit_id: str | None
    revision: int | None
    edited_at: datetime | None
    cost: float | None
    metric: str | None
    key: str | None = None

    def to_json(self) -> dict[str, Any]:
        """One row of a JSON Lines log; `read_jsonl` reads keys that are no record fields as metadata."""
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
    """Stream completions that have an edit, in the order of their latest edits.

    A completion that is edited again moves to the end, so that a reader that continues where it stopped sees it again.
    Memory does not grow with the number of rows.

    Args:
        connection: connection to the store.
        tenant: only this tenant; all tenants if `None`.
        user: only this user.
        group: only users currently in this group.
        since: only edits made at this time or later.
        until: only edits made before this time.
        policy: only answers of this policy.
        at_least: only edits with at least this cost.
        at_most: only edits with at most this cost.
        pending: include completions without an edit (a bound on the cost excludes them). Times and order are then
            those of the answers.
        after: only edits with a number in the log above this one.
        limit: largest number of completions.
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
    """Condition: the user of a completion is currently in this group."""
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
    user: str | None = None,
    words: str = "",
    policy: str | None = None,
    pending: bool = True,
    before: int | None = None,
    limit: int = 20,
) -> tuple[list[LoggedEdit], int | None]:
    """Search completions, newest first.

    Args:
        connection: connection to the store.
        tenant: only this tenant; all tenants if `None`.
        user: only this user.
        words: words that must all occur in the context, response or edit; the case of ASCII letters is ignored.
        policy: only answers of this policy.
        pending: include completions without an edit.
        before: only completions with a number in the log below this one.
        limit: largest number of completions.

    Returns:
        The completions, and the `before` of the next page; `None` on the last page.
    """
    query = _select_completions(outer=pending).order_by(completions.c.seq.desc()).limit(limit + 1)
    query = _filter_by(query, tenant, user)
    if policy is not None:
        query = query.where(completions.c.policy == policy)
    if before is not None:
        query = query.where(completions.c.seq < before)
    for word in words.split():
        # Contexts are stored as JSON, which escapes quotes and non-ASCII characters.
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


def find_completion(
    connection: Connection, completion_id: str, tenant: str | None = None, *, user: str | None = None
) -> LoggedEdit | None:
    """A completion with its current edit; `None` if it does not exist or belongs to another tenant or user."""
    row = connection.execute(
        _filter_by(_select_completions(outer=True).where(completions.c.id == completion_id), tenant, user)
    ).first()
    return None if row is None else _to_logged_edit(row)


def sequence_of(
    connection: Connection, edit_id: str, tenant: str | None = None, *, user: str | None = None
) -> int | None:
    """The number of an edit in the log; `None` if it does not exist or belongs to another tenant or user."""
    query = select(edits.c.seq).join(completions, completions.c.id == edits.c.completion_id)
    query = query.where(edits.c.id == edit_id)
    if tenant is not None:
        query = query.where(completions.c.tenant == tenant)
    if user is not None:
        query = query.where(completions.c.user == user)
    return connection.execute(query).scalar()


def read_context(row: Row[Any]) -> str | tuple[Message, ...]:
    """The context of a completion: as imported, or built from a request by `build_context`."""
    context = parse_stored_json(row.context, (str, list))
    try:
        if row.imported is None:
            return build_context(context)
        return context if isinstance(context, str) else tuple(Message.model_validate(message) for message in context)
    except (ValueError, TypeError, AttributeError) as exc:
        raise DamagedDataError(f"completion {row.id!a}: {exc}") from None


def build_context(messages: Sequence[Mapping[str, Any]]) -> str | tuple[Message, ...]:
    """Convert the messages of a request to a record's context; a single user message becomes its text."""
    turns = [
        Message.model_validate({**message, "content": extract_text(message.get("content"))}) for message in messages
    ]
    return turns[0].content if len(turns) == 1 and turns[0].role == "user" else tuple(turns)


def extract_text(content: Any) -> str:
    """Extract the text of a message's content: a string, `None`, or a list of parts."""
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
    try:
        return _build_logged_edit(row)
    except (ValueError, TypeError, AttributeError, OverflowError) as exc:
        raise DamagedDataError(f"completion {row.id!a}: {exc}") from None


def _build_logged_edit(row: Row[Any]) -> LoggedEdit:
    record = EditRecord(
        id=row.id,
        context=read_context(row),
        response=row.response,
        edit=row.edit,
        user=row.user,
        policy=row.policy or None,
        # Further fields of an imported row, as it had them (`copydesk.store.imports`).
        **(_get_request_fields(row) if row.imported is None else parse_stored_json(row.imported)),
    )
    edited_at = None if row.edited_at is None else datetime.fromtimestamp(row.edited_at, UTC)
    return LoggedEdit(record, row.tenant, row.edit_id, row.revision, edited_at, row.cost, row.metric, row.key)


def _get_request_fields(row: Row[Any]) -> dict[str, Any]:
    """Further record fields of an answer of this gateway."""
    return {
        "propensity": row.propensity,
        "created_at": datetime.fromtimestamp(row.at, UTC),
        "metadata": {
            "requested": row.requested,
            "finish_reason": row.finish_reason,
            "parameters": parse_stored_json(row.parameters),
        },
    }
