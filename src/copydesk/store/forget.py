"""Erasing all rows of a user, recorded in a hash chain that does not reveal who was forgotten.

Each entry is sealed with a hash of itself and of the previous seal, so none can be changed, removed or inserted
without recomputing all later ones. A keyed hash identifies the user only to somebody who knows the name.
"""

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, func, or_, select, text, update

from copydesk.errors import InputError
from copydesk.store.errors import DamagedDataError, StoreError, parse_stored_json
from copydesk.store.tables import (
    arms,
    completions,
    edits,
    forgettings,
    keys,
    memberships,
    pulls,
    rewrites,
    withdrawals,
)
from copydesk.store.transaction import Transaction

_INITIAL_SEAL = "0" * 64
"""The seal before the first entry."""


@dataclass(frozen=True)
class ForgetEntry:
    """One entry of the chain.

    Attributes:
        seq: number in the log.
        at: time in seconds since 1970.
        erased: number of erased rows by kind.
        policies: names of the policies trained on the user's edits.
        seal: hexadecimal SHA-256 of the entry and the previous seal.
    """

    seq: int
    at: float
    erased: dict[str, int]
    policies: tuple[str, ...]
    seal: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.__dict__, "policies": list(self.policies)}


def count_user_rows(connection: Connection, user: str, tenant: str | None = None) -> dict[str, int]:
    """Count a user's rows by kind; kinds without rows are left out.

    Args:
        connection: connection to the store.
        user: name of the user.
        tenant: tenant of the user; `None` for all tenants.
    """
    theirs = select(completions.c.id).where(_is_user_completion(user, tenant))
    counts = {
        "completions": select(func.count()).select_from(completions).where(_is_user_completion(user, tenant)),
        "edits": select(func.count()).select_from(edits).where(edits.c.completion_id.in_(theirs)),
        "choices": select(func.count()).select_from(pulls).where(_is_user_pull(user, tenant)),
        "memberships": select(func.count()).select_from(memberships).where(_is_user_membership(user, tenant)),
        "audiences": select(func.count()).select_from(arms).where(_is_user_scope(arms.c.audience, user, tenant)),
        "keys": select(func.count()).select_from(keys).where(_is_user_key(user, tenant)),
    }
    found = {kind: int(connection.execute(query).scalar_one()) for kind, query in counts.items()}
    return {kind: count for kind, count in found.items() if count}


def format_row_counts(rows: dict[str, int]) -> str:
    """Row counts as text: "2 completions, 1 edit"."""
    return ", ".join(f"{count} {kind if count > 1 else kind[:-1]}" for kind, count in rows.items()) or "nothing"


def erase_user(tx: Transaction, user: str, tenant: str | None = None, policies: Sequence[str] = ()) -> ForgetEntry:
    """Erase all rows of a user in this transaction and append an entry to the chain.

    Completions and edits are deleted. Choices made for the user are blanked: the round stays, so that later rounds
    keep their numbers, but its arm, and with it its effect on the statistics, is removed. Arms restricted to the user
    are restricted to nobody. Keys for the user's requests are revoked and lose their names.

    Args:
        tx: the open transaction.
        user: name of the user.
        tenant: tenant of the user; `None` for all tenants.
        policies: names of the policies trained on the user's edits, for the entry.
    """
    connection = tx.connection
    erased = count_user_rows(connection, user, tenant)
    chosen = _is_user_pull(user, tenant)
    first = connection.execute(select(func.min(pulls.c.seq)).where(chosen)).scalar()
    failed = (
        select(pulls.c.completion_id)
        .where(chosen)
        .union(select(completions.c.id).where(_is_user_completion(user, tenant)))
    )
    connection.execute(
        update(withdrawals)
        .where(withdrawals.c.completion_id.in_(failed))
        .values(completion_id="", round=None, reason="", at=0.0)
    )
    own = _is_user_scope(pulls.c.scope, user, tenant)
    blank: dict[str, Any] = {
        "completion_id": "",
        "arm": "",
        "propensity": 1.0,
        "without": None,
        "at": 0.0,
        "asker": None,
        "key": None,
    }
    for where, values in (
        (and_(chosen, own), blank | {"scope": None, "turn": 0}),
        (chosen, blank),  # rounds of their group keep its scope
    ):
        ids = select(pulls.c.seq).where(where)
        connection.execute(update(pulls).where(pulls.c.seq.in_(ids)).values(**values))
    theirs = select(completions.c.id).where(_is_user_completion(user, tenant))
    connection.execute(delete(edits).where(edits.c.completion_id.in_(theirs)))
    connection.execute(delete(completions).where(_is_user_completion(user, tenant)))
    connection.execute(delete(memberships).where(_is_user_membership(user, tenant)))
    # TENANT/USER becomes TENANT/: for nobody, and still known to that tenant only.
    nobody = func.substr(arms.c.audience, 1, func.length(arms.c.audience) - len(user))
    connection.execute(update(arms).where(_is_user_scope(arms.c.audience, user, tenant)).values(audience=nobody))
    revoked_at = func.coalesce(keys.c.revoked_at, time.time())
    connection.execute(
        update(keys).where(_is_user_key(user, tenant)).values(user=None, name="forgotten", revoked_at=revoked_at)
    )
    return _append_entry(tx, user, tenant, first, erased, policies)


def find_forget_entries(connection: Connection, user: str, tenant: str | None = None) -> list[ForgetEntry]:
    """The entries of this user, in order."""
    rows = connection.execute(select(forgettings).order_by(forgettings.c.seq)).all()
    return [
        _build_entry(row) for row in rows if hmac.compare_digest(row.subject, _hash_subject(row.salt, user, tenant))
    ]


def verify_forget_chain(connection: Connection) -> int:
    """Check the seals of all entries and return their number.

    Raises:
        InputError: an entry was changed, removed or inserted.
    """
    before, count = _INITIAL_SEAL, 0
    for count, row in enumerate(connection.execute(select(forgettings).order_by(forgettings.c.seq)), start=1):
        if row.previous != before or row.seal != _compute_seal(dict(row._mapping)):
            raise InputError(
                f"entry {count} of forgotten users (number {row.seq} of the log) does not match its seal: it or the "
                "previous one was changed or removed; restore the store from a backup"
            )
        before = row.seal
    return count


def is_rewrite_missing(connection: Connection) -> bool:
    """Whether rows were erased, and no rewrite of the database's files has finished since."""
    erased = connection.execute(select(func.max(forgettings.c.seq))).scalar()
    rewritten = connection.execute(select(func.max(rewrites.c.until))).scalar()
    return erased is not None and (rewritten is None or rewritten < erased)


def vacuum_database(engine: Engine) -> None:
    """Rewrite the SQLite file or the PostgreSQL tables, so that no database file holds erased data.

    Writers wait until it is done.

    Raises:
        StoreError: another process holds the SQLite file in a long transaction.
    """
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            bare = cast(sqlite3.Connection, connection.connection.dbapi_connection)
            bare.execute("VACUUM")
            if bare.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise StoreError(
                    "another process is reading the store, so its write-ahead log cannot be emptied; run the same "
                    "command again when that process is idle"
                )
            return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in (completions, edits, pulls, withdrawals, memberships, arms, keys):
            connection.execute(text(f"VACUUM FULL {table.name}"))


def _append_entry(
    tx: Transaction, user: str, tenant: str | None, first: int | None, erased: dict[str, int], policies: Sequence[str]
) -> ForgetEntry:
    last = select(forgettings.c.seal).order_by(forgettings.c.seq.desc()).limit(1)
    salt = secrets.token_hex(16)
    fields: dict[str, Any] = {
        "salt": salt,
        "subject": _hash_subject(salt, user, tenant),
        "first": first,
        "erased": json.dumps(erased),
        "policies": json.dumps(sorted(policies)),
        "previous": tx.connection.execute(last).scalar() or _INITIAL_SEAL,
    }
    at = float(int(time.time()))
    seal = _compute_seal({**fields, "at": at})
    seq = tx.append(forgettings, at=at, seal=seal, **fields)
    return ForgetEntry(seq, at, erased, tuple(sorted(policies)), seal)


def _compute_seal(row: dict[str, Any]) -> str:
    sealed = {name: row[name] for name in ("at", "salt", "subject", "first", "erased", "policies", "previous")}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()


def _hash_subject(salt: str, user: str, tenant: str | None) -> str:
    return hmac.new(_parse_salt(salt), json.dumps([tenant, user]).encode(), hashlib.sha256).hexdigest()


def _parse_salt(salt: str) -> bytes:
    try:
        return bytes.fromhex(salt)
    except ValueError:
        raise DamagedDataError(f"{salt[:40]!a} is stored in place of a salt") from None


def _build_entry(row: Any) -> ForgetEntry:
    return ForgetEntry(
        row.seq, row.at, parse_stored_json(row.erased), tuple(parse_stored_json(row.policies, list)), row.seal
    )


def _is_user_completion(user: str, tenant: str | None) -> ColumnElement[bool]:
    owner = completions.c.user == user
    return owner if tenant is None else and_(owner, completions.c.tenant == tenant)


def _is_user_membership(user: str, tenant: str | None) -> ColumnElement[bool]:
    owner = memberships.c.user == user
    return owner if tenant is None else and_(owner, memberships.c.tenant == tenant)


def _is_user_key(user: str, tenant: str | None) -> ColumnElement[bool]:
    owner = keys.c.user == user
    return owner if tenant is None else and_(owner, keys.c.tenant == tenant)


def _is_user_pull(user: str, tenant: str | None) -> ColumnElement[bool]:
    """Choices for logged answers, and for requests that were never answered."""
    answered = pulls.c.completion_id.in_(select(completions.c.id).where(_is_user_completion(user, tenant)))
    return or_(answered, _is_user_scope(pulls.c.scope, user, tenant), _is_user_scope(pulls.c.asker, user, tenant))


def _is_user_scope(column: Any, user: str, tenant: str | None) -> ColumnElement[bool]:
    """Whether a scope is `TENANT/USER` of this user; tenants contain no slash, and group scopes start with `@`."""
    if tenant is not None:
        return cast(ColumnElement[bool], column == f"{tenant}/{user}")
    start = func.substr(column, 1, func.length(column) - len(user) - 1)
    return and_(column.endswith(f"/{user}", autoescape=True), ~start.contains("/"), ~column.startswith("@"))
