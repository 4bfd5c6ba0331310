"""Users of a store: their rows, groups and ensemble scopes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, select

from copydesk.errors import InputError
from copydesk.store import write
from copydesk.store.errors import parse_stored_json
from copydesk.store.read import IS_LATEST_REVISION
from copydesk.store.tables import arms, completions, edits, memberships, settings
from copydesk.store.transaction import Transaction

_FETCH_SIZE = 500  # rows in memory at a time
_MAX_NAME_LENGTH = 256  # characters of a user or group name, as in the gateway's requests


@dataclass(frozen=True)
class StoredUser:
    """Summary of one user.

    Attributes:
        tenant: the user's tenant.
        user: the user's name.
        group: current group, if any.
        completions: number of answers.
        edits: number of answers with an edit.
        mean_cost: mean cost of the edits costed with the requested metric; `None` if there are none.
        otherwise: number of edits costed with another metric, not in the mean.
        last_seen: time of the last request or edit; `None` if there is none.
        arms: policies restricted to the user or their group.
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
        """The number of answers without an edit."""
        return self.completions - self.edits

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        seen = None if self.last_seen is None else self.last_seen.isoformat(timespec="seconds")
        return {**self.__dict__, "pending": self.pending, "last_seen": seen, "arms": list(self.arms)}


def user_scope(tenant: str, user: str) -> str:
    """The ensemble's scope of a user."""
    return f"{tenant}/{user}"


def group_scope(tenant: str, group: str) -> str:
    """The ensemble's scope of a group. It differs from every user's, since no tenant's name begins with an @."""
    return f"@{tenant}/{group}"


def parse_scope(scope: str) -> dict[str, str]:
    """Split a scope into `{"tenant", "user"}` or `{"tenant", "group"}`.

    The scope of a forgotten user has the tenant alone, or nothing if a release before 0.2 erased the user.
    """
    tenant, slash, name = scope.partition("/")
    if not slash:
        return {}
    if not name:
        return {"tenant": tenant}
    return {"tenant": tenant[1:], "group": name} if tenant.startswith("@") else {"tenant": tenant, "user": name}


def assign_group(tx: Transaction, group: str | None, users: Sequence[str], tenant: str, *, at: float) -> list[str]:
    """Move users to a group, or out of their groups if it is `None`.

    Returns:
        The users whose group changed.

    Raises:
        InputError: a name is empty, too long, or contains U+0000.
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
    """The name of the ensemble's edit cost, else that of the latest edit, else an empty string."""
    followed = connection.execute(select(settings.c.settings).order_by(settings.c.seq.desc()).limit(1)).scalar()
    if followed is not None and (metric := parse_stored_json(followed).get("metric")):
        return str(metric)
    return connection.execute(select(edits.c.metric).order_by(edits.c.seq.desc()).limit(1)).scalar() or ""


def read_users(connection: Connection, metric: str, *, tenant: str | None = None) -> Iterator[StoredUser]:
    """Stream all users by tenant and name, those without requests last.

    Args:
        connection: connection to the store.
        metric: name of the edit cost to average.
        tenant: restricts the users to this tenant.
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
    """The current groups by tenant and user."""
    query = select(memberships).order_by(memberships.c.seq)
    if tenant is not None:
        query = query.where(memberships.c.tenant == tenant)
    latest = {(row.tenant, row.user): row.group for row in connection.execute(query)}
    return {member: group for member, group in latest.items() if group is not None}


def _read_audiences(connection: Connection) -> dict[str, list[str]]:
    """The active restricted arms by their audience."""
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
