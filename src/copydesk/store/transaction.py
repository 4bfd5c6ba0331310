"""A write transaction: appends rows to the log and numbers them."""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Insert, Select, Table, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from copydesk.store.errors import DamagedDataError
from copydesk.store.tables import clock

# Statements are built once: building them costs as much as running them.
_READ_CLOCK = select(clock.c.seq)
_LOCK_CLOCK = _READ_CLOCK.with_for_update()
_SET_CLOCK = update(clock).values(seq=bindparam("now"))


@lru_cache
def _build_insert(table: Table, dialect: str, unless_known: bool) -> Insert:
    if not unless_known:
        return table.insert()
    of = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return of(table).on_conflict_do_nothing()


def read_last_seq(connection: Connection) -> int:
    """The number of the last row in the log."""
    return _read_clock(connection, _READ_CLOCK)


def _read_clock(connection: Connection, query: Select[Any]) -> int:
    found = connection.execute(query).scalars().all()
    if len(found) != 1:
        raise DamagedDataError(f"the clock has {len(found)} rows in place of one")
    return int(found[0])


class Transaction:
    """Appends rows numbered by the clock, and holds the clock's lock until it ends.

    Attributes:
        connection: for queries; it sees the rows appended so far.
        start_seq: the number of the last row before this transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.start_seq = _read_clock(connection, _LOCK_CLOCK)
        self.seq = self.start_seq

    def append(self, table: Table, *, at: float | None = None, unless_known: bool = False, **values: Any) -> int:
        """Append a row and return its number.

        Args:
            table: table to append to.
            at: time in seconds since 1970; now by default.
            unless_known: append nothing if the table has a row with the same unique values.
            values: values of the other columns.
        """
        self.seq += 1
        row = {"seq": self.seq, "at": time.time() if at is None else at, **values}
        self.connection.execute(_build_insert(table, self.connection.dialect.name, unless_known), row)
        return self.seq

    def append_all(self, table: Table, rows: Sequence[Mapping[str, Any]], last: int) -> None:
        """Append rows already numbered by the caller, from `seq` + 1 to `last`."""
        if rows:
            self.connection.execute(_build_insert(table, self.connection.dialect.name, False), rows)
        self.seq = last

    def finish(self) -> None:
        """Store the clock; the caller commits."""
        if self.seq != self.start_seq:
            self.connection.execute(_SET_CLOCK, {"now": self.seq})
