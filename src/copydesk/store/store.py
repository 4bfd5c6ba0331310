"""`EditStore`: opens the store's database, migrates it, and runs read and write transactions."""

import contextlib
import os
import secrets
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from copydesk.errors import InputError
from copydesk.store.errors import StoreError, explain_store_errors
from copydesk.store.forget import vacuum_database
from copydesk.store.tables import forgettings, rewrites
from copydesk.store.transaction import Transaction

_LOCK_TIMEOUT_SECONDS = 30  # how long to wait for another writing process; `?timeout=` of an SQLite URL changes it
_MIGRATION_LOCK_ID = 0x636F7079  # "copy": PostgreSQL's advisory lock for migrations

_MIGRATING = threading.Lock()  # Alembic keeps the running migration in global variables


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

    Takes no lock unless there is something to migrate. A new SQLite file is readable by its owner alone.

    Args:
        store: as `parse_store_url` takes it.
        create: whether to create a missing SQLite file, or the tables in an empty database.

    Raises:
        InputError: there is no such store, it belongs to another application, or was written by a newer Copydesk.
        StoreError: it cannot be opened.
    """
    url = parse_store_url(store)
    if url.get_backend_name() == "sqlite":
        url = url.set(database=str(_prepare_file(url, create)))
    name = hide_password(url)
    try:
        with explain_store_errors(name):
            engine = _create_engine(url)
            try:
                _prepare_tables(engine, name, create)
            except BaseException:
                engine.dispose()
                raise
    except (ImportError, NoSuchModuleError):
        raise InputError(
            "a PostgreSQL store needs psycopg; install it with: pip install 'copydesk[postgres]'"
        ) from None
    return engine


def _prepare_file(url: URL, create: bool) -> Path:
    """The SQLite file of a URL; created if it is missing and may be."""
    try:
        file = Path(str(url.database)).expanduser()
        if file.is_file():
            return file
        if file.exists():
            raise InputError(f"--store {file}: this is {'a folder' if file.is_dir() else 'no file'}; name a file")
        if not create:
            raise InputError(f"--store {file}: there is no such file; give the store that `copydesk serve` writes to")
        if not file.parent.is_dir():
            raise InputError(f"--store {file}: there is no folder {file.parent}; create it first")
        _create_file(file.resolve(), url)
    except (OSError, ValueError, RuntimeError) as exc:  # a name that is too long, or contains U+0000
        reason = (getattr(exc, "strerror", None) or str(exc)).lower()
        raise StoreError(f"--store {url.database}: it cannot be opened ({reason}); check the path") from None
    return file


def _create_file(file: Path, url: URL) -> None:
    """Create a store for its owner alone, under another name first: nobody ever sees a file without tables."""
    temporary = file.with_name(f".copydesk-{secrets.token_hex(8)}.tmp")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with explain_store_errors(hide_password(url)):
            engine = _create_engine(url.set(database=str(temporary)))
            try:
                _enable_wal(engine)
                with engine.begin() as connection:
                    run_migrations(connection)
            finally:
                engine.dispose()
        try:
            os.link(temporary, file)  # unlike a rename it never replaces the store of another process
        except FileExistsError:
            pass
        except OSError:  # a disk without links: the tables are created in place
            with contextlib.suppress(FileExistsError):
                os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _sync_folder(file.parent)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk (on Windows this happens by itself)."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _prepare_tables(engine: Engine, name: str, create: bool) -> None:
    """Check whose tables these are, and create or migrate them if they are not current."""
    sqlite = engine.dialect.name == "sqlite"
    options = {"reads": True} if sqlite else {}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        known = set(inspect(connection).get_table_names())
        versions = (
            list(connection.scalars(text("SELECT version_num FROM alembic_version")))
            if ("alembic_version" in known)
            else []
        )
        if (sqlite and known and not versions) or (versions and "clock" not in known):
            raise InputError(f"--store {name}: this database belongs to another application; name another file")
        if not versions and not create:
            raise InputError(f"--store {name}: it holds no store yet; give the store that `copydesk serve` writes to")
        current = versions == [_find_head_revision()]
    if sqlite and create:
        _enable_wal(engine)
    if not current:
        with engine.begin() as connection:
            run_migrations(connection)


def _load_migrations() -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config, ScriptDirectory.from_config(config)


@lru_cache
def _find_head_revision() -> str | None:
    return _load_migrations()[1].get_current_head()


def run_migrations(connection: Connection, revision: str = "head") -> None:
    """Run the missing migrations in the current transaction; safe beside other processes.

    Raises:
        InputError: a newer Copydesk has migrated the database.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK_ID})"))
    config, scripts = _load_migrations()
    config.attributes["connection"] = connection
    known = {script.revision for script in scripts.walk_revisions()}
    at = MigrationContext.configure(connection).get_current_revision()
    if at is not None and at not in known:
        raise InputError(f"--store: its tables have version {at}, of a newer Copydesk; upgrade copydesk")
    if at != scripts.get_current_head():
        with _MIGRATING:
            command.upgrade(config, revision)


def _create_engine(url: URL) -> Engine:
    # Returned connections need no reset: `EditStore` ends every transaction it begins.
    if url.get_backend_name() != "sqlite":
        engine = create_engine(
            url, pool_pre_ping=True, pool_reset_on_return=None, connect_args={"connect_timeout": _LOCK_TIMEOUT_SECONDS}
        )

        @event.listens_for(engine, "connect")
        def _limit_waiting(connection: Any, record: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'")
            connection.commit()

        return engine
    timeout = _read_lock_timeout(url)
    engine = create_engine(
        url.set(query={}),
        pool_reset_on_return=None,
        connect_args={"check_same_thread": False, "timeout": timeout},
        execution_options={"lock_timeout": timeout},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # we send BEGIN: the driver's own comes too late and skips DDL
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # erased rows are overwritten, also before `vacuum`
        # `EditStore.checkpoint` moves the write-ahead log into the file; a writer does so only after a long backlog.
        connection.execute("PRAGMA wal_autocheckpoint=16000")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Readers take no lock. Writers lock at once: upgrading a read lock later can fail where waiting would not.
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _read_lock_timeout(url: URL) -> float:
    """How many seconds to wait for the lock of an SQLite file: `?timeout=` of its URL."""
    rest = dict(url.query)
    try:
        timeout = float(str(rest.pop("timeout", _LOCK_TIMEOUT_SECONDS)))
        if not rest and 0 <= timeout <= 3600:
            return timeout
    except ValueError:
        pass
    raise InputError(f"--store {hide_password(url)}: an SQLite URL takes only ?timeout=SECONDS, at most 3600")


def _enable_wal(engine: Engine) -> None:
    """Switch to the write-ahead log. SQLite does not wait by itself while another process is switching, so retry."""
    deadline = time.monotonic() + engine.get_execution_options()["lock_timeout"]
    with engine.connect() as pooled:
        connection = cast(sqlite3.Connection, pooled.connection.dbapi_connection)
        while True:
            try:
                if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
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

        Args:
            store: its path or URL; `sqlite:///FILE?timeout=SECONDS` sets how long to wait for another writing process.
            create: whether to create a missing store.

        Raises:
            InputError: there is no such store, it belongs to another application, or was written by a newer Copydesk.
            StoreError: it cannot be opened.
        """
        return cls(open_engine(store, create=create))

    @property
    def name(self) -> str:
        """The URL of the store, without a password."""
        return hide_password(self._engine.url)

    @property
    def file(self) -> Path | None:
        """The SQLite file; `None` for PostgreSQL."""
        return Path(str(self._engine.url.database)) if self._engine.dialect.name == "sqlite" else None

    @contextmanager
    def begin_write(self, *, durable: bool = True) -> Iterator[Transaction]:
        """Open a write transaction: committed when the block ends, rolled back when it raises.

        After the commit others see what was written, and it survives a crash of this process. If `durable` it also
        survives a crash of the machine; otherwise it does so after the next durable commit.

        Raises:
            StoreError: the store cannot be written to, or is damaged.
        """
        with explain_store_errors(self.name), self._engine.connect() as connection:
            self._set_durability(connection, durable)
            with connection.begin():
                if not durable and connection.dialect.name == "postgresql":
                    connection.execute(text("SET LOCAL synchronous_commit = off"))
                transaction = Transaction(connection)
                yield transaction
                transaction.finish()

    @contextmanager
    def begin_read(self) -> Iterator[Connection]:
        """Open a read-only connection with a consistent snapshot of the store.

        Raises:
            StoreError: the store cannot be read, or is damaged.
        """
        options = {"reads": True} if self._engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with (
            explain_store_errors(self.name),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    def checkpoint(self) -> None:
        """Move SQLite's write-ahead log into the file without blocking readers or writers; call it now and then.

        Raises:
            StoreError: the file cannot be written to.
        """
        if self._engine.dialect.name == "sqlite":
            with explain_store_errors(self.name), self._engine.connect() as connection:
                bare = cast(sqlite3.Connection, connection.connection.dbapi_connection)
                bare.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def vacuum(self) -> None:
        """Rewrite the database's files, so that none holds erased data, and record that this has finished.

        Raises:
            StoreError: another process is using the store, or the disk is full; run it again.
        """
        with self.begin_read() as connection:
            last = connection.execute(select(func.max(forgettings.c.seq))).scalar()
        try:
            with explain_store_errors(self.name):
                vacuum_database(self._engine)
        except StoreError as exc:
            raise StoreError(
                f"{exc} (the rows are erased, but they are still in the files until the same command has finished)"
            ) from exc
        if last is not None:
            with self.begin_write() as tx:
                tx.append(rewrites, until=last)

    def find_exposed_files(self) -> list[Path]:
        """The files of the store that other users of this machine can read or write; none of PostgreSQL's."""
        if self.file is None or os.name != "posix":
            return []
        files = [self.file.with_name(self.file.name + suffix) for suffix in ("", "-wal", "-shm")]
        return [file for file in files if file.exists() and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]

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
