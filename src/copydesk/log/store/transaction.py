"""One transaction that appends to the log."""

import time
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from copydesk.log.store.tables import clock


class Transaction:
    """Appends rows, numbered by the clock; it holds the clock's lock until it ends.

    Attributes:
        connection: to read with; it sees what was appended so far.
        began_at: the number of the last row before this transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.began_at = int(connection.execute(select(clock.c.seq).with_for_update()).scalar_one())
        self.seq = self.began_at

    def append(self, table: Table, *, at: float | None = None, **values: Any) -> int:
        """Append a row and return its number. `at` is now unless given."""
        self.seq += 1
        self.connection.execute(insert(table), {"seq": self.seq, "at": time.time() if at is None else at, **values})
        return self.seq

    def finish(self) -> None:
        """Set the clock; the caller commits."""
        if self.seq != self.began_at:
            self.connection.execute(update(clock).values(seq=self.seq))
