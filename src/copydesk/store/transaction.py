"""One transaction that appends to the log."""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Insert, Table, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from copydesk.store.tables import clock

# Statements are made once: making them costs as much as running them.
_LOCK_CLOCK = select(clock.c.seq).with_for_update()
_SET_CLOCK = update(clock).values(seq=bindparam("now"))


@lru_cache
def _build_insert(table: Table, dialect: str, unless_known: bool) -> Insert:
    if not unless_known:
        return table.insert()
    of = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return of(table).on_conflict_do_nothing()


class Transaction:
    """Appends rows, numbered by the clock; it holds the clock's lock until it ends.

    Attributes:
        connection: to read with; it sees what was appended so far.
        start_seq: the number of the last row before this transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.start_seq = int(connection.execute(_LOCK_CLOCK).scalar_one())
        self.seq = self.start_seq

    def append(self, table: Table, *, at: float | None = None, unless_known: bool = False, **values: Any) -> int:
        """Append a row and return its number.

        Args:
            table: to append to.
            at: when it was; now unless given.
            unless_known: append nothing where the table has a row with the same unique values.
            values: of the other columns.
        """
        self.seq += 1
        row = {"seq": self.seq, "at": time.time() if at is None else at, **values}
        self.connection.execute(_build_insert(table, self.connection.dialect.name, unless_known), row)
        return self.seq

    def append_all(self, table: Table, rows: Sequence[Mapping[str, Any]], last: int) -> None:
        """Append rows that the caller has numbered, from `seq` + 1 on, of which `last` is the number given out last."""
        if rows:
            self.connection.execute(_build_insert(table, self.connection.dialect.name, False), rows)
        self.seq = last

    def finish(self) -> None:
        """Set the clock; the caller commits."""
        if self.seq != self.start_seq:
            self.connection.execute(_SET_CLOCK, {"now": self.seq})
