"""Events of the log that determine the state of the ensemble, read in order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from heapq import merge
from typing import Any, Literal

from sqlalchemy import Connection, Row, Table, and_, select

from copydesk.store import tables
from copydesk.store.errors import parse_stored_json


@dataclass(frozen=True)
class LogEvent:
    """An event with its number in the log (`seq`) and its time in seconds since 1970 (`at`)."""

    seq: int
    at: float


@dataclass(frozen=True)
class ConfigChanged(LogEvent):
    """The settings of the ensemble changed."""

    settings: dict[str, Any]


@dataclass(frozen=True)
class ArmChanged(LogEvent):
    """An arm was added or retired; `audience` is the scope it is restricted to, if any."""

    name: str
    action: Literal["add", "retire"]
    spec: str | None
    audience: str | None = None


@dataclass(frozen=True)
class MembershipChanged(LogEvent):
    """A user of a tenant moved to this group; `None` for no group."""

    tenant: str
    user: str
    group: str | None


@dataclass(frozen=True)
class ArmPulled(LogEvent):
    """The ensemble chose an arm; `unavailable_arms` could not be chosen.

    `scope` is the scope whose statistics decided; `requester_scope` is that of the requesting user, if it differs.
    `key` is the id of the API key of the request.
    """

    completion_id: str
    round: int
    arm: str
    propensity: float
    scope: str | None
    turn: int
    unavailable_arms: tuple[str, ...]
    requester_scope: str | None = None
    key: str | None = None

    @property
    def user_scope(self) -> str | None:
        """The scope of the requesting user; `None` if the request named none."""
        return self.scope if self.requester_scope is None else self.requester_scope


@dataclass(frozen=True)
class PullErased(LogEvent):
    """A round whose user was forgotten; only its number is kept."""

    round: int
    scope: str | None
    turn: int


@dataclass(frozen=True)
class UserForgotten(LogEvent):
    """A user was forgotten; rounds from event `first_seq` on may be erased, none if it is `None`."""

    first_seq: int | None


@dataclass(frozen=True)
class PullWithdrawn(LogEvent):
    """A request failed; its arm may be in cooldown. `round` is `None` if the ensemble had not chosen the arm."""

    arm: str
    round: int | None
    cooldown_until: float | None


@dataclass(frozen=True)
class EditRecorded(LogEvent):
    """An edit of a completion whose policy the ensemble chose; `previous_cost` is set for a revision.

    `requester_scope` is the scope of the user of the completion, if it differs from `scope`; `key` is the id of the API
    key that the edit was sent with.
    """

    completion_id: str
    round: int
    arm: str
    scope: str | None
    turn: int
    pulled_at: float
    cost: float
    previous_cost: float | None
    requester_scope: str | None = None
    key: str | None = None

    @property
    def user_scope(self) -> str | None:
        """The scope of the user of the completion; `None` if its request named none."""
        return self.scope if self.requester_scope is None else self.requester_scope


def read_events(connection: Connection, after: int = 0, until: int | None = None) -> Iterator[LogEvent]:
    """Stream the events with numbers above `after` and up to `until`, in order."""
    yield from merge(*_iter_event_streams(connection, after, until), key=lambda event: event.seq)


def read_setup_events(connection: Connection) -> Iterator[LogEvent]:
    """Stream the settings and arms alone, in order, as needed before the rounds are read."""
    yield from merge(*_iter_setup_streams(connection, 0, None), key=lambda event: event.seq)


def read_forget_events(connection: Connection) -> list[UserForgotten]:
    """The events of forgotten users, in order."""
    table = tables.forgettings
    return [
        UserForgotten(row.seq, row.at, row.first) for row in connection.execute(select(table).order_by(table.c.seq))
    ]


def _iter_setup_streams(connection: Connection, after: int, until: int | None) -> Iterable[Iterator[LogEvent]]:
    rows = partial(_iter_rows, connection, after, until)
    yield (ConfigChanged(row.seq, row.at, parse_stored_json(row.settings)) for row in rows(tables.settings))
    yield (ArmChanged(row.seq, row.at, row.name, row.action, row.spec, row.audience) for row in rows(tables.arms))


def _iter_rows(
    connection: Connection, after: int, until: int | None, table: Table, *columns: Any
) -> Iterator[Row[Any]]:
    query = select(*(columns or (table,))).where(table.c.seq > after).order_by(table.c.seq)
    if until is not None:
        query = query.where(table.c.seq <= until)
    if table is tables.edits:
        edits, completions, pulls = tables.edits, tables.completions, tables.pulls
        query = query.join_from(edits, completions, completions.c.id == edits.c.completion_id)
        query = query.join(pulls, and_(pulls.c.round == completions.c.round, pulls.c.arm != ""))
    yield from connection.execute(query)


def _iter_event_streams(connection: Connection, after: int, until: int | None) -> Iterable[Iterator[LogEvent]]:
    yield from _iter_setup_streams(connection, after, until)
    rows = partial(_iter_rows, connection, after, until)
    yield (MembershipChanged(row.seq, row.at, row.tenant, row.user, row.group) for row in rows(tables.memberships))
    yield (_build_pull_event(row) for row in rows(tables.pulls))
    yield (UserForgotten(row.seq, row.at, row.first) for row in rows(tables.forgettings))
    yield (PullWithdrawn(row.seq, row.at, row.arm, row.round, row.rest_until) for row in rows(tables.withdrawals))
    edits, pulls = tables.edits, tables.pulls
    yield (
        EditRecorded(*tuple(row))
        for row in rows(
            edits,
            edits.c.seq,
            edits.c.at,
            edits.c.completion_id,
            pulls.c.round,
            pulls.c.arm,
            pulls.c.scope,
            pulls.c.turn,
            pulls.c.at,
            edits.c.cost,
            edits.c.previous_cost,
            pulls.c.asker,
            edits.c.key,
        )
    )


def _build_pull_event(row: Row[Any]) -> ArmPulled | PullErased:
    if not row.arm:
        return PullErased(row.seq, row.at, row.round, row.scope, row.turn)
    without = tuple(parse_stored_json(row.without or "[]", list))
    return ArmPulled(
        row.seq,
        row.at,
        row.completion_id,
        row.round,
        row.arm,
        row.propensity,
        row.scope,
        row.turn,
        without,
        row.asker,
        row.key,
    )
