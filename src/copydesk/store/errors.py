"""Errors of the store: what its database reports, as one line that says what is wrong, where, and how to fix it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from copydesk.data.strict_json import load_stored_json
from copydesk.errors import InputError


class StoreError(InputError):
    """The store cannot be read or written to; nothing of the failed transaction is in it.

    Attributes:
        is_outage: whether every other transaction would fail as well, as with a full disk or a held lock.
    """

    def __init__(self, message: str, *, is_outage: bool = True) -> None:
        super().__init__(message)
        self.is_outage = is_outage


class DamagedDataError(ValueError):
    """A stored value is not what its column holds; transactions of `EditStore` turn it into a `StoreError`."""


def parse_stored_json(text: str, kind: type | tuple[type, ...] = dict) -> Any:
    """Parse JSON from a column; see `load_stored_json`.

    Args:
        text: the column's value.
        kind: the Python type, or types, that the document must have.

    Raises:
        DamagedDataError: it is not JSON, or of another type.
    """
    try:
        value = load_stored_json(text)
    except (ValueError, RecursionError) as exc:
        raise DamagedDataError(f"{text[:40]!a} is stored in place of JSON: {exc}") from None
    if not isinstance(value, kind):
        raise DamagedDataError(f"{text[:40]!a} is stored in place of another kind of JSON")
    return value


@contextmanager
def explain_store_errors(store: str) -> Iterator[None]:
    """Raise errors of the database in the block as a `StoreError`.

    Args:
        store: name of the store for messages, without a password.
    """
    try:
        yield
    except DamagedDataError as exc:
        reason = str(exc).partition("\n")[0]
        raise StoreError(f"--store {store}: its data are damaged ({reason}); {_RESTORE}") from exc
    except (DBAPIError, sqlite3.Error, PoolTimeout) as exc:
        raise _explain(exc, store) from exc


_RETRY = "run again when that process has finished"
_RESTORE = "restore it from a backup, or save what can be read with `sqlite3 FILE .recover`"
_PERMISSIONS = "check the permissions of the file and of its folder"
_NO_STORE = "name the store that `copydesk serve` writes to"

# The primary result codes of SQLite: what is wrong, and how to fix it.
_SQLITE_ERRORS = {
    sqlite3.SQLITE_BUSY: ("another process holds its lock", _RETRY),
    sqlite3.SQLITE_LOCKED: ("another process holds its lock", _RETRY),
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space and run again"),
    sqlite3.SQLITE_IOERR: ("it cannot be read or written", "free some space or check the disk, and run again"),
    sqlite3.SQLITE_CORRUPT: ("the file is damaged", _RESTORE),
    sqlite3.SQLITE_NOTADB: ("the file is not a database, or it is damaged", _NO_STORE),
    sqlite3.SQLITE_READONLY: ("it cannot be written to", _PERMISSIONS),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", _PERMISSIONS),
    sqlite3.SQLITE_PERM: ("it cannot be opened", _PERMISSIONS),
    sqlite3.SQLITE_NOMEM: ("the memory is full", "free some and run again"),
}

# Prefixes of PostgreSQL's error codes, the first that matches.
_POSTGRESQL_ERRORS = {
    "53100": ("the server's disk is full", "free some space and run again"),
    "53": ("the server has no resources left", "run again later"),
    "55P03": ("another process holds its lock", _RETRY),
    "57014": ("another process holds its lock", _RETRY),
    "40": ("another process holds its lock", _RETRY),
    "25006": ("it cannot be written to", "check the rights of the database user"),
    "42501": ("it cannot be written to", "check the rights of the database user"),
    "XX": ("the database is damaged", "restore it from a backup"),
    "28": ("the server refused the login", "check the user and the password"),
    "3D": ("there is no such database", "create it, or check the address"),
}


def _explain(exc: Exception, store: str) -> StoreError:
    if isinstance(exc, PoolTimeout):
        return StoreError(f"--store {store}: too many requests use it at a time; retry")
    orig: Any = getattr(exc, "orig", None) or exc
    reason = next(iter(str(orig).strip().splitlines()), "") or type(orig).__name__
    state = getattr(orig, "sqlstate", None)
    found: tuple[str, str] | None
    if isinstance(orig, sqlite3.Error):
        found = _SQLITE_ERRORS.get(getattr(orig, "sqlite_errorcode", 0) & 0xFF)
    elif state is not None:
        found = next((words for code, words in _POSTGRESQL_ERRORS.items() if state.startswith(code)), None)
        if found is None and state[:2] in ("08", "57"):
            found = _UNREACHABLE
    else:
        found = None if isinstance(exc, DBAPIError) and not _is_operational(orig) else _UNREACHABLE
    if found is not None:
        what, fix = found
        return StoreError(f"--store {store}: {what} ({reason}); {fix}")
    if "UTF-8" in reason:
        return StoreError(f"--store {store}: the file is damaged ({reason}); {_RESTORE}")
    if state in ("42P01", "42703") or reason.startswith(("no such table", "no such column")):
        return StoreError(f"--store {store}: this is no Copydesk store, or it is damaged ({reason}); {_NO_STORE}")
    return StoreError(f"--store {store}: the database refused a statement ({reason}); {_RESTORE}", is_outage=False)


_UNREACHABLE = ("the database server cannot be reached", "check the address, and run again when the server is back")


def _is_operational(orig: Any) -> bool:
    """Whether an error of a PostgreSQL driver without a code is one of the connection."""
    return any(kind.__name__ in ("OperationalError", "InterfaceError") for kind in type(orig).__mro__)
