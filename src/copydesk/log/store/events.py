"""What happened to the ensemble, in order: the part of the log that its state is made of."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from heapq import merge
from typing import Any, Literal

from sqlalchemy import Connection, Row, Table, and_, select

from copydesk.log.store import tables


@dataclass(frozen=True)
class Event:
    """`seq` is its number in the log, `at` when it was, in seconds since 1970."""

    seq: int
    at: float


@dataclass(frozen=True)
class Followed(Event):
    """The ensemble follows these settings from here on."""

    settings: dict[str, Any]


@dataclass(frozen=True)
class ArmChanged(Event):
    """A policy became an arm (`add`), or an arm was retired (`retire`); `audience` is the scope it is for, if any."""

    name: str
    action: Literal["add", "retire"]
    spec: str | None
    audience: str | None = None


@dataclass(frozen=True)
class Joined(Event):
    """A user of a tenant is in this group from here on; in none if that is `None`."""

    tenant: str
    user: str
    group: str | None


@dataclass(frozen=True)
class Pulled(Event):
    """The ensemble chose, `unavailable_arms` those arms that could not be chosen.

    `scope` is whose statistics decided; `requester_scope` is that of the user who asked, where it is another.
    """

    completion_id: str
    round: int
    arm: str
    propensity: float
    scope: str | None
    turn: int
    unavailable_arms: tuple[str, ...]
    requester_scope: str | None = None

    @property
    def user_scope(self) -> str | None:
        """The scope of the user who asked; `None` where the request named none."""
        return self.scope if self.requester_scope is None else self.requester_scope


@dataclass(frozen=True)
class Erased(Event):
    """A round whose person was forgotten since: that there was one is all that is left."""

    round: int
    scope: str | None
    turn: int


@dataclass(frozen=True)
class Forgotten(Event):
    """A person was forgotten: rounds from event `first_seq` on may have been erased; none were where that is `None`."""

    first_seq: int | None


@dataclass(frozen=True)
class Withdrawn(Event):
    """A request was not answered; its arm may rest for it. `round` is none if the ensemble had not chosen."""

    arm: str
    round: int | None
    cooldown_until: float | None


@dataclass(frozen=True)
class Edited(Event):
    """An edit came, for a completion whose policy the ensemble chose; `previous_cost` if it is a revision."""

    completion_id: str
    round: int
    arm: str
    scope: str | None
    turn: int
    pulled_at: float
    cost: float
    previous_cost: float | None


def read_events(connection: Connection, after: int = 0, until: int | None = None) -> Iterator[Event]:
    """The events with numbers above `after` and, where given, up to `until`, in order; a stream."""
    yield from merge(*_streams(connection, after, until), key=lambda event: event.seq)


def read_setup(connection: Connection) -> Iterator[Event]:
    """The settings and arms alone, in order: what a start needs to know before the rounds are read."""
    yield from merge(*_setup_streams(connection, 0, None), key=lambda event: event.seq)


def read_forgettings(connection: Connection) -> list[Forgotten]:
    """When persons were forgotten, in order."""
    table = tables.forgettings
    return [Forgotten(row.seq, row.at, row.first) for row in connection.execute(select(table).order_by(table.c.seq))]


def _setup_streams(connection: Connection, after: int, until: int | None) -> Iterable[Iterator[Event]]:
    rows = partial(_rows, connection, after, until)
    yield (Followed(row.seq, row.at, json.loads(row.settings)) for row in rows(tables.settings))
    yield (ArmChanged(row.seq, row.at, row.name, row.action, row.spec, row.audience) for row in rows(tables.arms))


def _rows(connection: Connection, after: int, until: int | None, table: Table, *columns: Any) -> Iterator[Row[Any]]:
    query = select(*(columns or (table,))).where(table.c.seq > after).order_by(table.c.seq)
    if until is not None:
        query = query.where(table.c.seq <= until)
    if table is tables.edits:
        edits, completions, pulls = tables.edits, tables.completions, tables.pulls
        query = query.join_from(edits, completions, completions.c.id == edits.c.completion_id)
        query = query.join(pulls, and_(pulls.c.round == completions.c.round, pulls.c.arm != ""))
    yield from connection.execute(query)


def _streams(connection: Connection, after: int, until: int | None) -> Iterable[Iterator[Event]]:
    yield from _setup_streams(connection, after, until)
    rows = partial(_rows, connection, after, until)
    yield (Joined(row.seq, row.at, row.tenant, row.user, row.group) for row in rows(tables.memberships))
    yield (_pulled(row) for row in rows(tables.pulls))
    yield (Forgotten(row.seq, row.at, row.first) for row in rows(tables.forgettings))
    yield (Withdrawn(row.seq, row.at, row.arm, row.round, row.rest_until) for row in rows(tables.withdrawals))
    edits, pulls = tables.edits, tables.pulls
    yield (
        Edited(*tuple(row))
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
        )
    )


def _pulled(row: Row[Any]) -> Pulled | Erased:
    if not row.arm:
        return Erased(row.seq, row.at, row.round, row.scope, row.turn)
    without = tuple(json.loads(row.without or "[]"))
    return Pulled(
        row.seq, row.at, row.completion_id, row.round, row.arm, row.propensity, row.scope, row.turn, without, row.asker
    )
