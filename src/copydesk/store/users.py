"""The people in a store: what it holds of each, which group they are in, and the scopes the ensemble knows them by."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, select

from copydesk.errors import InputError
from copydesk.store import write
from copydesk.store.read import IS_LATEST_REVISION
from copydesk.store.tables import arms, completions, edits, memberships, settings
from copydesk.store.transaction import Transaction

_FETCH_SIZE = 500  # rows that are in memory at a time
_MAX_NAME_LENGTH = 256  # characters of a user's or a group's name, as in the gateway's requests


@dataclass(frozen=True)
class StoredUser:
    """What a store holds of one user.

    Attributes:
        tenant: whose user.
        user: who.
        group: they are in now, if any.
        completions: answers they were given.
        edits: how many of these have an edit.
        mean_cost: of those edits whose cost was computed as asked for; `None` where there is none.
        otherwise: how many edits were costed in another way, and are not in the mean.
        last_seen: when they last asked or edited; `None` where they never did.
        arms: the policies on offer that are for them or for their group.
    """

    tenant: str
    user: str
    group: str | None
    completions: int
    edits: int
    mean_cost: float | None
    otherwise: int
    last_seen: datetime | None
    arms: tuple[str, ...]

    @property
    def pending(self) -> int:
        """How many answers have no edit."""
        return self.completions - self.edits

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        seen = None if self.last_seen is None else self.last_seen.isoformat(timespec="seconds")
        return {**self.__dict__, "pending": self.pending, "last_seen": seen, "arms": list(self.arms)}


def user_scope(tenant: str, user: str) -> str:
    """What the ensemble calls a user."""
    return f"{tenant}/{user}"


def group_scope(tenant: str, group: str) -> str:
    """What the ensemble calls a group; no user is called so, since no tenant's name begins with an @."""
    return f"@{tenant}/{group}"


def parse_scope(scope: str) -> dict[str, str]:
    """Whom a scope means, as `{"tenant", "user"}` or `{"tenant", "group"}`; of one that means nobody, nothing."""
    tenant, slash, name = scope.partition("/")
    if not slash:
        return {}
    return {"tenant": tenant[1:], "group": name} if tenant.startswith("@") else {"tenant": tenant, "user": name}


def assign_group(tx: Transaction, group: str | None, users: Sequence[str], tenant: str, *, at: float) -> list[str]:
    """Let users be in a group from here on, and in no other; in none if that is `None`.

    Returns:
        The users for whom this changed something.

    Raises:
        InputError: a name is empty, too long, or holds a character that no database keeps.
    """
    for what, name in [*([] if group is None else [("group", group)]), *(("user", user) for user in users)]:
        if not name or len(name) > _MAX_NAME_LENGTH or "\x00" in name:
            raise InputError(f"{what} {name[:40]!a}: give a name of 1 to {_MAX_NAME_LENGTH} characters, without U+0000")
    now = _read_groups(tx.connection, tenant)
    changed = [user for user in dict.fromkeys(users) if now.get((tenant, user)) != group]
    for user in changed:
        write.append_membership(tx, tenant, user, group, at=at)
    return changed


def read_current_metric(connection: Connection) -> str:
    """The name of the edit cost that the ensemble follows; of the latest edit's where none was served yet.

    Empty where there is no edit either.
    """
    followed = connection.execute(select(settings.c.settings).order_by(settings.c.seq.desc()).limit(1)).scalar()
    if followed is not None and (metric := json.loads(followed).get("metric")):
        return str(metric)
    return connection.execute(select(edits.c.metric).order_by(edits.c.seq.desc()).limit(1)).scalar() or ""


def read_users(connection: Connection, metric: str, *, tenant: str | None = None) -> Iterator[StoredUser]:
    """Every user, by tenant and name; those last who are in a group but never asked for anything. A stream.

    Args:
        connection: to the store.
        metric: the name of the edit cost to average.
        tenant: only this one's users.
    """
    groups, offered = _read_groups(connection, tenant), _read_audiences(connection)

    def person(tenant: str, user: str, row: Row[Any] | None) -> StoredUser:
        group = groups.pop((tenant, user), None)
        mine = list(offered.get(user_scope(tenant, user), ()))
        if group is not None:
            mine += offered.get(group_scope(tenant, group), ())
        if row is None:
            return StoredUser(tenant, user, group, 0, 0, None, 0, None, tuple(mine))
        seen = datetime.fromtimestamp(max(row.asked, row.edited or 0.0), UTC)
        return StoredUser(
            tenant, user, group, row.completions, row.edits, row.cost, row.edits - row.costed, seen, tuple(mine)
        )

    cost = case((edits.c.metric == metric, edits.c.cost))
    joined = completions.join(edits, and_(edits.c.completion_id == completions.c.id, IS_LATEST_REVISION), isouter=True)
    names = completions.c.tenant, completions.c.user
    query = select(
        *names,
        func.count().label("completions"),
        func.count(edits.c.id).label("edits"),
        func.count(cost).label("costed"),
        func.avg(cost).label("cost"),
        func.max(completions.c.at).label("asked"),
        func.max(edits.c.at).label("edited"),
    ).select_from(joined)
    query = query.where(completions.c.user.is_not(None)).group_by(*names).order_by(*names)
    if tenant is not None:
        query = query.where(completions.c.tenant == tenant)
    for row in connection.execute(query, execution_options={"yield_per": _FETCH_SIZE}):
        yield person(row.tenant, row.user, row)
    for member in sorted(groups):
        yield person(*member, None)


def _read_groups(connection: Connection, tenant: str | None) -> dict[tuple[str, str], str]:
    """The group of every user who is in one, by tenant and user."""
    query = select(memberships).order_by(memberships.c.seq)
    if tenant is not None:
        query = query.where(memberships.c.tenant == tenant)
    latest = {(row.tenant, row.user): row.group for row in connection.execute(query)}
    return {member: group for member, group in latest.items() if group is not None}


def _read_audiences(connection: Connection) -> dict[str, list[str]]:
    """The arms on offer for some only, by the scope they are for."""
    offered: dict[str, str] = {}
    for row in connection.execute(select(arms).order_by(arms.c.seq)):
        if row.action == "add" and row.audience is not None:
            offered[row.name] = row.audience
        else:
            offered.pop(row.name, None)
    found: dict[str, list[str]] = {}
    for name, audience in offered.items():
        found.setdefault(audience, []).append(name)
    return found
