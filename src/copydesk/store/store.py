"""`EditStore`: opens the store's database, migrates it, and runs read and write transactions."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from copydesk.errors import InputError
from copydesk.store.forget import vacuum_database
from copydesk.store.transaction import Transaction

_LOCK_TIMEOUT_SECONDS = 30  # how long to wait for another writing process
_MIGRATION_LOCK_ID = 0x636F7079  # "copy": PostgreSQL's advisory lock for migrations


def parse_store_url(store: str) -> URL:
    """Parse the name of a store: an SQLite or PostgreSQL URL, or the path of an SQLite file.

    Raises:
        InputError: it is none of these.
    """
    if "://" not in store:
        if not store:
            raise InputError("--store is empty; give the path of an SQLite file or a postgresql:// URL")
        return URL.create("sqlite", database=store)
    try:
        url = make_url(store)
    except (ArgumentError, ValueError):
        raise InputError("--store: not a database URL; write sqlite:///FILE or postgresql://...") from None
    backend = url.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or not url.database:
        raise InputError(f"--store {hide_password(url)}: give sqlite:///FILE or postgresql://...")
    return url.set(drivername="sqlite")


def hide_password(url: URL) -> str:
    """Render a URL without its password."""
    return url.render_as_string(hide_password=True)


def open_engine(store: str, *, create: bool = True) -> Engine:
    """Open a store's database and migrate its tables to the current version.

    Args:
        store: as `parse_store_url` takes it.
        create: whether to create a missing SQLite file.

    Raises:
        InputError: it cannot be opened, is not a database, or was written by a newer Copydesk.
    """
    url = parse_store_url(store)
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database)).expanduser()
        if not file.exists() and not create:
            raise InputError(f"--store {file}: there is no such file; give the store that `copydesk serve` writes to")
        if not file.parent.is_dir():
            raise InputError(f"--store {file}: there is no folder {file.parent}; create it first")
        url = url.set(database=str(file))
    try:
        engine = _create_engine(url)
        with engine.begin() as connection:
            run_migrations(connection)
    except (ImportError, NoSuchModuleError):
        raise InputError(
            "a PostgreSQL store needs psycopg; install it with: pip install 'copydesk[postgres]'"
        ) from None
    except DBAPIError as exc:
        reason = str(exc.orig).strip().splitlines()[0] if str(exc.orig).strip() else type(exc.orig).__name__
        raise InputError(
            f"--store {hide_password(url)}: cannot be opened ({reason}); check the address and the permissions"
        ) from None
    return engine


def run_migrations(connection: Connection, revision: str = "head") -> None:
    """Run the missing migrations in the current transaction; safe beside other processes.

    Raises:
        InputError: a newer Copydesk has migrated the database.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK_ID})"))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    at = MigrationContext.configure(connection).get_current_revision()
    if at is not None and at not in known:
        raise InputError(f"--store: its tables have version {at}, of a newer Copydesk; upgrade copydesk")
    if at != scripts.get_current_head():
        command.upgrade(config, revision)


def _create_engine(url: URL) -> Engine:
    # Returned connections need no reset: `EditStore` ends every transaction it begins.
    if url.get_backend_name() != "sqlite":
        return create_engine(
            url, pool_pre_ping=True, pool_reset_on_return=None, connect_args={"connect_timeout": _LOCK_TIMEOUT_SECONDS}
        )
    connecting = {"check_same_thread": False, "timeout": _LOCK_TIMEOUT_SECONDS}
    engine = create_engine(url, pool_reset_on_return=None, connect_args=connecting)

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # we send BEGIN: the driver's own comes too late and skips DDL
        _enable_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        # `EditStore.checkpoint` moves the write-ahead log into the file; a writer does so only after a long backlog.
        connection.execute("PRAGMA wal_autocheckpoint=16000")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Readers take no lock. Writers lock at once: upgrading a read lock later can fail where waiting would not.
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _enable_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log. SQLite does not wait by itself while another process is switching, so retry."""
    deadline = time.monotonic() + _LOCK_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


DEFAULT_STORE = "copydesk.db"
"""The default store, in the working folder."""


class EditStore:
    """An open store, safe to share between threads: every transaction has its own connection.

    Writers, also those of other processes, wait for one another, so that the log has one order.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, store: str = DEFAULT_STORE, *, create: bool = True) -> "EditStore":
        """Open a store: the path of an SQLite file, or a URL of SQLite or PostgreSQL.

        Raises:
            InputError: it cannot be opened, is not a database, or was written by a newer Copydesk.
        """
        return cls(open_engine(store, create=create))

    @property
    def name(self) -> str:
        """The URL of the store, without a password."""
        return hide_password(self._engine.url)

    @contextmanager
    def begin_write(self, *, durable: bool = True) -> Iterator[Transaction]:
        """Open a write transaction: committed when the block ends, rolled back when it raises.

        After the commit others see what was written, and it survives a crash of this process. If `durable` it also
        survives a crash of the machine; otherwise it does so after the next durable commit.
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
        """Open a read-only connection with a consistent snapshot of the store."""
        options = {"reads": True} if self._engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with self._engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    def checkpoint(self) -> None:
        """Move SQLite's write-ahead log into the file without blocking readers or writers; call it now and then."""
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:
                bare = cast(sqlite3.Connection, connection.connection.dbapi_connection)
                bare.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def vacuum(self) -> None:
        """Rewrite the database's files, so that none holds erased data; see `copydesk.store.forget`.

        Raises:
            InputError: another process is using the store.
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
