"""The store: an append-only log of completions and edits in SQLite or PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from sqlalchemy import Connection, Engine, text

from copydesk.store.connect import hide_password, open_engine
from copydesk.store.forget import vacuum_database
from copydesk.store.transaction import Transaction

DEFAULT_STORE = "copydesk.db"
"""The store in the working folder, where none is named."""


class EditStore:
    """An open store. Safe to share between threads: every transaction has a connection of its own.

    Writers wait for one another, in this process and in others, so that the log has one order.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, store: str = DEFAULT_STORE, *, create: bool = True) -> "EditStore":
        """Open a store: the path of an SQLite file, or a URL of SQLite or PostgreSQL.

        Raises:
            InputError: it cannot be opened, is no database, or a newer Copydesk wrote it.
        """
        return cls(open_engine(store, create=create))

    @property
    def name(self) -> str:
        """Where it is, without a password."""
        return hide_password(self._engine.url)

    @contextmanager
    def begin_write(self, *, durable: bool = True) -> Iterator[Transaction]:
        """A transaction that appends; it is committed when the block ends and rolled back when it raises.

        When the block has ended, others see what was written, and it outlives a crash of this process. If it is
        `durable` it outlives one of the machine as well; otherwise it does with the next durable one.
        """
        with self._engine.connect() as connection:
            self._set_durability(connection, durable)
            with connection.begin():
                if not durable and connection.dialect.name == "postgresql":
                    connection.execute(text("SET LOCAL synchronous_commit = off"))
                transaction = Transaction(connection)
                yield transaction
                transaction.finish()

    @contextmanager
    def begin_read(self) -> Iterator[Connection]:
        """A connection that sees one state of the store and writes nothing."""
        options = {"reads": True} if self._engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with self._engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    def checkpoint(self) -> None:
        """Do what a database needs now and then, beside its readers and writers, so that none of them has to wait."""
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:
                bare = cast(sqlite3.Connection, connection.connection.dbapi_connection)
                bare.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def vacuum(self) -> None:
        """Rewrite the database's files, so that what was erased is in none of them; see `copydesk.store.forget`.

        Raises:
            InputError: another process uses the store just now.
        """
        vacuum_database(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @staticmethod
    def _set_durability(connection: Connection, durable: bool) -> None:
        if connection.dialect.name == "sqlite":
            level = "FULL" if durable else "NORMAL"
            if connection.info.get("synchronous") != level:
                bare = cast(sqlite3.Connection, connection.connection.dbapi_connection)
                bare.execute(f"PRAGMA synchronous={level}")  # only before a transaction
                connection.info["synchronous"] = level
