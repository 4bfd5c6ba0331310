"""Reads logged traffic from a store: edited answers with their costs, propensities, and the arms available then."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, and_, select

from copydesk.data.record import Context, Message
from copydesk.ensemble.limits import CountLimits
from copydesk.errors import InputError
from copydesk.store.errors import parse_stored_json
from copydesk.store.events import read_events
from copydesk.store.read import IS_LATEST_REVISION, is_in_group, read_context
from copydesk.store.tables import arms, completions, edits, memberships, pulls
from copydesk.store.users import group_scope, user_scope


class ArmAvailability:
    """The arms available at any position of a log, given their audiences and the users' groups at that time.

    Attributes:
        specs: spec of each policy that ever was an arm, by name.
    """

    def __init__(self, connection: Connection) -> None:
        self.specs: dict[str, str] = {}
        self._audiences: dict[str, str] = {}
        self._change_seqs: list[int] = []
        self._arms_after: list[frozenset[str]] = [frozenset()]  # before the first change, between, and after the last
        for row in connection.execute(select(arms).order_by(arms.c.seq)):
            if row.action == "add":
                self.specs[row.name] = row.spec or ""
                if row.audience is not None:
                    self._audiences[row.name] = row.audience
            before = self._arms_after[-1]
            self._change_seqs.append(row.seq)
            self._arms_after.append(before | {row.name} if row.action == "add" else before - {row.name})
        self._memberships: dict[str, list[tuple[int, str | None]]] = {}
        if self._audiences:
            for row in connection.execute(select(memberships).order_by(memberships.c.seq)):
                scope = None if row.group is None else group_scope(row.tenant, row.group)
                self._memberships.setdefault(user_scope(row.tenant, row.user), []).append((row.seq, scope))
        self._cached_arms = cache(self._resolve_arms)

    def arms_at(self, seq: int, tenant: str, user: str | None, excluded: str | None) -> frozenset[str]:
        """The arms that the choice at a position of the log was made from.

        Args:
            seq: sequence number of the choice.
            tenant: tenant of the request.
            user: user of the request, if it named one.
            excluded: arms that could not answer, as a JSON list.
        """
        scopes: tuple[str | None, ...] = ()
        if self._audiences and user is not None:
            own_scope = user_scope(tenant, user)
            history = self._memberships.get(own_scope, [])
            index = bisect_right(history, seq, key=lambda one: one[0])
            scopes = (own_scope, history[index - 1][1] if index else None)
        return self._cached_arms(bisect_right(self._change_seqs, seq), scopes, excluded)

    def _resolve_arms(self, index: int, scopes: tuple[str | None, ...], excluded: str | None) -> frozenset[str]:
        reserved = {name for name, audience in self._audiences.items() if audience not in scopes}
        return self._arms_after[index].difference(reserved, parse_stored_json(excluded or "[]", list))


@dataclass(frozen=True)
class LoggedAnswer:
    """One answer with the cost of its edit.

    Attributes:
        id: id of the completion.
        context: the context.
        response: the answer.
        parameters: parameters of the request.
        finish_reason: why the answer ended.
        tokens: number of generated tokens, including the end of the turn; `None` where unknown.
        policy: the policy that answered.
        propensity: the probability with which it was chosen.
        available_arms: arms that the ensemble could choose from; empty if the client requested the policy by name.
        cost: cost of the latest edit.
    """

    id: str
    context: Context
    response: str
    parameters: Mapping[str, Any]
    finish_reason: str | None
    tokens: int | None
    policy: str
    propensity: float
    available_arms: frozenset[str]
    cost: float


@dataclass(frozen=True)
class Traffic:
    """Logged traffic.

    Attributes:
        rows: answers with an edit, in the order in which they were given.
        pending: number of answers of each policy without an edit yet, which have no cost.
        specs: spec of each policy that ever was an arm, by name.
        metric: name of the cost metric; empty where there are no costs.
    """

    rows: Sequence[LoggedAnswer]
    pending: Mapping[str, int]
    specs: Mapping[str, str]
    metric: str


def read_traffic(
    connection: Connection,
    *,
    tenant: str | None = None,
    user: str | None = None,
    group: str | None = None,
    since: datetime | None = None,
) -> Traffic:
    """Read the answers of a store, with the latest edit of each that the ensemble counted.

    Answers that the ensemble did not count, since their user or API key had too many, are left out
    (`copydesk.ensemble.limits`).

    Args:
        connection: connection to the store.
        tenant: read only answers to this tenant.
        user: read only answers to this user.
        group: read only answers to users who are in this group now.
        since: read only answers given at this time or later.

    Raises:
        InputError: the costs were computed with several metrics, and cannot be averaged.
    """
    joined = completions.join(edits, and_(edits.c.completion_id == completions.c.id, IS_LATEST_REVISION), isouter=True)
    joined = joined.join(pulls, pulls.c.round == completions.c.round, isouter=True)
    query = select(completions, edits.c.cost, edits.c.metric, pulls.c.seq.label("pulled"), pulls.c.without)
    query = query.select_from(joined).order_by(completions.c.seq)
    if tenant is not None:
        query = query.where(completions.c.tenant == tenant)
    if user is not None:
        query = query.where(completions.c.user == user)
    if group is not None:
        query = query.where(is_in_group(group))
    if since is not None:
        query = query.where(completions.c.at >= since.timestamp())
    availability = ArmAvailability(connection)
    counted = CountLimits().fold(read_events(connection)).rounds
    rows: list[LoggedAnswer] = []
    pending: Counter[str] = Counter()
    metrics: Counter[str] = Counter()
    for row in connection.execute(query):
        if row.round in counted.left_out:
            continue
        if row.cost is None:
            pending[row.policy] += 1
            continue
        metrics[row.metric] += 1
        available: frozenset[str] = frozenset()
        if row.pulled is not None:
            available = availability.arms_at(row.pulled, row.tenant, row.user, row.without)
        usage = parse_stored_json(row.usage) if row.usage else {}
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        rows.append(
            LoggedAnswer(
                id=row.id,
                context=_to_served_context(read_context(row)),
                response=row.response,
                parameters=parse_stored_json(row.parameters),
                finish_reason=row.finish_reason,
                tokens=tokens if isinstance(tokens, int) else None,
                policy=row.policy,
                propensity=row.propensity,
                available_arms=available,
                cost=counted.kept_costs.get(row.round, row.cost),
            )
        )
    if len(metrics) > 1:
        counts = ", ".join(f"{name} ({count} rows)" for name, count in metrics.most_common())
        raise InputError(
            f"--store: the costs were computed with {len(metrics)} metrics, {counts}; select rows with one of them by "
            "--since"
        )
    return Traffic(rows, dict(pending), availability.specs, next(iter(metrics), ""))


def _to_served_context(context: Context) -> Context:
    """The context as the gateway gave it to the policy: roles and content, with `developer` turns as `system`."""
    if isinstance(context, str):
        return context
    return tuple(
        Message(role="system" if turn.role == "developer" else turn.role, content=turn.content) for turn in context
    )
