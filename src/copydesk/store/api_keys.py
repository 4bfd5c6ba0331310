"""API keys: created, looked up and revoked. The store holds only a hash of each key."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Row, func, insert, select, update

from copydesk.errors import InputError
from copydesk.store.tables import keys

API_KEY_SCOPES = ("read", "complete", "edit", "admin")
"""Permissions of a key: read the log and statistics, request completions, post edits, change the arms."""

DEFAULT_TENANT = "default"
"""Tenant of requests without a key."""

_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEY_PATTERN = re.compile(r"ck-([0-9a-f]{12})-([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class ApiKey:
    """An API key without its secret. Requests made with it belong to its tenant."""

    id: str
    name: str
    tenant: str
    scopes: tuple[str, ...]
    created_at: float
    revoked_at: float | None = None


def create_key(
    connection: Connection, name: str, *, tenant: str = DEFAULT_TENANT, scopes: Iterable[str] = API_KEY_SCOPES
) -> tuple[ApiKey, str]:
    """Create a key and return it with its text, which is stored nowhere.

    Raises:
        InputError: a name contains characters other than letters, digits, `_`, `.` and `-`, or a scope is unknown.
    """
    _check_name("--name", name)
    check_tenant(tenant)
    chosen = tuple(scope for scope in API_KEY_SCOPES if scope in set(scopes))
    if unknown := sorted(set(scopes) - set(API_KEY_SCOPES)):
        raise InputError(f"--scope {unknown[0]}: there is no such scope; choose from {', '.join(API_KEY_SCOPES)}")
    if not chosen:
        raise InputError(f"--scope: a key needs at least one; choose from {', '.join(API_KEY_SCOPES)}")
    key = ApiKey(secrets.token_hex(6), name, tenant, chosen, time.time())
    secret = secrets.token_urlsafe(32)
    connection.execute(
        insert(keys).values(
            id=key.id,
            name=name,
            tenant=tenant,
            scopes=",".join(chosen),
            hash=_hash_secret(secret),
            created_at=key.created_at,
        )
    )
    return key, f"ck-{key.id}-{secret}"


def check_tenant(tenant: str) -> None:
    """Check the name of a tenant.

    Raises:
        InputError: it contains characters other than letters, digits, `_`, `.` and `-`, or is too long.
    """
    _check_name("--tenant", tenant)


def _check_name(option: str, name: str) -> None:
    if not _NAME_PATTERN.fullmatch(name):
        raise InputError(f"{option} {name!r}: use letters, digits, '_', '.' and '-', at most 64, a letter first")


def find_key(connection: Connection, text: str) -> ApiKey | None:
    """The key with this text; `None` if there is none or it was revoked."""
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
        raise InputError(f"there is no active key {key_id!r}; `copydesk keys list` shows all keys")
    return _build_key(connection.execute(select(keys).where(keys.c.id == key_id)).one())


def list_keys(connection: Connection) -> list[ApiKey]:
    """All keys including revoked ones, oldest first."""
    return [_build_key(row) for row in connection.execute(select(keys).order_by(keys.c.created_at, keys.c.id))]


def has_active_key(connection: Connection) -> bool:
    """Whether any key is active."""
    query = select(func.count()).select_from(keys).where(keys.c.revoked_at.is_(None))
    return bool(connection.execute(query).scalar_one())


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
    )
