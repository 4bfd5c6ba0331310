"""API keys: created, looked up and revoked. The store holds only a hash of each key."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Row, insert, select, update

from copydesk.errors import InputError
from copydesk.store.tables import keys

API_KEY_SCOPES = ("read", "complete", "edit", "admin", "metrics")
"""Permissions of a key: read the log and statistics, request completions, post edits, change the arms, read `/metrics`
(numbers only, no texts)."""

DEFAULT_API_KEY_SCOPES = ("read", "complete", "edit")
"""Scopes of a key that is created without naming any."""

DEFAULT_TENANT = "default"
"""Tenant of requests without a key."""

_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEY_PATTERN = re.compile(r"ck-([0-9a-f]{12})-([A-Za-z0-9_-]{43})")
_ID_LENGTH = len("ck-") + 12  # characters of a key's text that are no secret


@dataclass(frozen=True)
class ApiKey:
    """An API key without its secret. Requests made with it belong to its tenant.

    Attributes:
        id: identifies the key; not secret.
        name: the operator's name for it.
        tenant: tenant of its requests.
        scopes: its permissions, some of `API_KEY_SCOPES`.
        created_at: seconds since 1970.
        revoked_at: seconds since 1970; `None` while the key is active.
        user: the one user whose data it reads, requests and edits; `None` for all users of the tenant.
        answers_of: id of another key, whose answers this key edits; `None` for none.
    """

    id: str
    name: str
    tenant: str
    scopes: tuple[str, ...]
    created_at: float
    revoked_at: float | None = None
    user: str | None = None
    answers_of: str | None = None

    def may_edit(self, tenant: str, user: str | None, key_id: str | None) -> bool:
        """Whether this key may edit an answer, given the tenant and user of its request and the id of its API key.

        A key for one user edits the answers of that user. A key without the scope `complete` edits answers given to
        itself or to the key `answers_of`. Every other key edits the answers of its tenant.
        """
        if "edit" not in self.scopes or tenant != self.tenant:
            return False
        if self.user is not None:
            return user == self.user
        return "complete" in self.scopes or (key_id is not None and key_id in (self.id, self.answers_of))


def create_key(
    connection: Connection,
    name: str,
    *,
    tenant: str = DEFAULT_TENANT,
    scopes: Iterable[str] = API_KEY_SCOPES,
    user: str | None = None,
    answers_of: str | None = None,
) -> tuple[ApiKey, str]:
    """Create a key and return it with its text, which is stored nowhere.

    Args:
        connection: connection to the store.
        name: the operator's name for it.
        tenant: tenant of its requests.
        scopes: its permissions.
        user: the one user it is for.
        answers_of: id of an active key of the same tenant, whose answers the new key edits; only for a key with the
            scope `edit` and without `complete`.

    Raises:
        InputError: a name contains characters other than letters, digits, `_`, `.` and `-`, a scope is unknown, or the
            options contradict each other.
    """
    scopes = tuple(scopes)
    _check_name("--name", name)
    check_tenant(tenant)
    chosen = tuple(scope for scope in API_KEY_SCOPES if scope in set(scopes))
    if unknown := sorted(set(scopes) - set(API_KEY_SCOPES)):
        raise InputError(f"--scope {unknown[0]}: there is no such scope; choose from {', '.join(API_KEY_SCOPES)}")
    if not chosen:
        raise InputError(f"--scope: a key needs at least one; choose from {', '.join(API_KEY_SCOPES)}")
    if user is not None:
        _check_user_name("--user", user)
    if user is not None and "admin" in chosen:
        raise InputError("--user: a key with the scope admin acts for all users; leave out --user or the scope admin")
    if answers_of is not None:
        _check_answers_of(connection, answers_of, tenant, chosen, user)
    key = ApiKey(secrets.token_hex(6), name, tenant, chosen, time.time(), user=user, answers_of=answers_of)
    secret = secrets.token_urlsafe(32)
    connection.execute(
        insert(keys).values(
            id=key.id,
            name=name,
            tenant=tenant,
            scopes=",".join(chosen),
            hash=_hash_secret(secret),
            created_at=key.created_at,
            user=user,
            answers_of=answers_of,
        )
    )
    return key, f"ck-{key.id}-{secret}"


def check_tenant(tenant: str) -> None:
    """Check the name of a tenant.

    Raises:
        InputError: it contains characters other than letters, digits, `_`, `.` and `-`, or is too long.
    """
    _check_name("--tenant", tenant)


def _check_user_name(option: str, name: str) -> None:
    """Check a name of a user or group that a command was given.

    Raises:
        InputError: it is empty, too long, or contains characters that cannot be stored or printed.
    """
    if not 0 < len(name) <= 256 or not name.isprintable():
        raise InputError(f"{option} {name[:40]!a}: give a name of 1 to 256 printable characters")


def _check_answers_of(
    connection: Connection, key_id: str, tenant: str, scopes: tuple[str, ...], user: str | None
) -> None:
    if user is not None:
        raise InputError("--answers-of and --user: give one; a key with --user edits all answers of that user")
    if "edit" not in scopes or "complete" in scopes:
        raise InputError("--answers-of is for a key with the scope edit and without the scope complete")
    row = connection.execute(select(keys).where(keys.c.id == key_id, keys.c.tenant == tenant)).first()
    if row is None or row.revoked_at is not None:
        raise InputError(
            f"--answers-of {key_id[:_ID_LENGTH]!a}: tenant {tenant} has no active key with this id; "
            "`copydesk keys list` shows all keys"
        )
    if "complete" not in _build_key(row).scopes:
        raise InputError(f"--answers-of {key_id}: this key has no answers, since it lacks the scope complete")


def _check_name(option: str, name: str) -> None:
    if not _NAME_PATTERN.fullmatch(name):
        raise InputError(f"{option} {name!r}: use letters, digits, '_', '.' and '-', at most 64, a letter first")


def is_well_formed_key(text: str) -> bool:
    """Whether a text has the form of a key, so that it may be one."""
    return _KEY_PATTERN.fullmatch(text) is not None


def find_key(connection: Connection, text: str) -> ApiKey | None:
    """The key with this text; `None` if there is none, or it was revoked, as by forgetting its user."""
    found = _KEY_PATTERN.fullmatch(text)
    row = found and connection.execute(select(keys).where(keys.c.id == found[1])).first()
    if not row or not found or row.revoked_at is not None or not hmac.compare_digest(row.hash, _hash_secret(found[2])):
        return None
    return _build_key(row)


def revoke_key(connection: Connection, key_id: str) -> ApiKey:
    """Revoke a key, given its id or its text.

    Raises:
        InputError: there is no such active key.
    """
    found = _KEY_PATTERN.fullmatch(key_id)
    key_id = found[1] if found else key_id
    now = time.time()
    done = connection.execute(
        update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    if done.rowcount != 1:
        raise InputError(f"there is no active key {key_id[:_ID_LENGTH]!a}; `copydesk keys list` shows all keys")
    return _build_key(connection.execute(select(keys).where(keys.c.id == key_id)).one())


def list_keys(connection: Connection) -> list[ApiKey]:
    """All keys including revoked ones, oldest first."""
    return [_build_key(row) for row in connection.execute(select(keys).order_by(keys.c.created_at, keys.c.id))]


def has_active_key(connection: Connection) -> bool:
    """Whether any key is active."""
    return connection.execute(select(keys.c.id).where(keys.c.revoked_at.is_(None)).limit(1)).first() is not None


_ANY_KEY = select(keys.c.id).limit(1)


def has_had_key(connection: Connection) -> bool:
    """Whether the store has, or ever had, a key: revoked keys stay in the table."""
    return connection.execute(_ANY_KEY).first() is not None


def _hash_secret(secret: str) -> str:
    # The secret has 256 random bits, so a slow hash would not add protection.
    return hashlib.sha256(secret.encode()).hexdigest()


def _build_key(row: Row[tuple[object, ...]]) -> ApiKey:
    fields = row._mapping
    return ApiKey(
        id=str(fields["id"]),
        name=str(fields["name"]),
        tenant=str(fields["tenant"]),
        scopes=tuple(str(fields["scopes"]).split(",")),
        created_at=fields["created_at"],
        revoked_at=fields["revoked_at"],
        user=fields["user"],
        answers_of=fields["answers_of"],
    )
