"""The traffic in a store: the answers whose edit has come, with what their costs and weights are made of.

Which arms an ensemble could choose from, at any place in its log and for any user.
"""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, and_, select

from copydesk.data.record import Context, Message
from copydesk.errors import InputError
from copydesk.store.read import IS_LATEST_REVISION, is_in_group, read_context
from copydesk.store.tables import arms, completions, edits, memberships, pulls
from copydesk.store.users import group_scope, user_scope


class ArmAvailability:
    """The arms of a log as they came and went, whom each is for, and the groups people were in.

    Attributes:
        specs: what each policy that ever was an arm is, by name.
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
        """The arms that a choice with this number in the log was made from.

        Args:
            seq: the number.
            tenant: whose user asked.
            user: who asked, if it was said.
            excluded: the arms that could not answer, a list in JSON.
        """
        scopes: tuple[str | None, ...] = ()
        if self._audiences and user is not None:
            who = user_scope(tenant, user)
            joined = self._memberships.get(who, [])
            place = bisect_right(joined, seq, key=lambda one: one[0])
            scopes = (who, joined[place - 1][1] if place else None)
        return self._cached_arms(bisect_right(self._change_seqs, seq), scopes, excluded)

    def _resolve_arms(self, index: int, scopes: tuple[str | None, ...], excluded: str | None) -> frozenset[str]:
        out = {name for name, audience in self._audiences.items() if audience not in scopes}
        return self._arms_after[index].difference(out, json.loads(excluded or "[]"))


@dataclass(frozen=True)
class LoggedAnswer:
    """One answer and what its edit cost.

    Attributes:
        id: the completion's.
        context: what was asked.
        response: what was answered.
        parameters: of the request.
        finish_reason: why the answer ended there.
        tokens: how many the policy wrote, its end included; `None` where it did not say.
        policy: who answered.
        propensity: the probability it was chosen with.
        available_arms: the arms that the ensemble could choose from; none if the policy was asked for by name.
        cost: of the edit that counts.
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
    """What a store holds.

    Attributes:
        rows: the answers whose edit has come, in the order they were given.
        pending: how many answers of each policy have no edit yet, and so no cost.
        specs: what each policy that ever was an arm is.
        metric: how costs were computed; empty where there are none.
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
    """Read the answers of a store, with the latest edit of each.

    Args:
        connection: to the store.
        tenant: only answers to this one.
        user: only answers to this one.
        group: only answers to users who are in this group now.
        since: only answers given at that time or later.

    Raises:
        InputError: their costs were computed in several ways, and cannot be averaged.
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
    offers = ArmAvailability(connection)
    rows: list[LoggedAnswer] = []
    pending: Counter[str] = Counter()
    metrics: Counter[str] = Counter()
    for row in connection.execute(query):
        if row.cost is None:
            pending[row.policy] += 1
            continue
        metrics[row.metric] += 1
        could: frozenset[str] = frozenset()
        if row.pulled is not None:
            could = offers.arms_at(row.pulled, row.tenant, row.user, row.without)
        usage = json.loads(row.usage) if row.usage else {}
        written = usage.get("completion_tokens") if isinstance(usage, dict) else None
        rows.append(
            LoggedAnswer(
                id=row.id,
                context=_to_served_context(read_context(row)),
                response=row.response,
                parameters=json.loads(row.parameters),
                finish_reason=row.finish_reason,
                tokens=written if isinstance(written, int) else None,
                policy=row.policy,
                propensity=row.propensity,
                available_arms=could,
                cost=row.cost,
            )
        )
    if len(metrics) > 1:
        said = ", ".join(f"{name} ({count} rows)" for name, count in metrics.most_common())
        raise InputError(
            f"--store: the costs were computed in {len(metrics)} ways, {said}; choose rows of one with --since"
        )
    return Traffic(rows, dict(pending), offers.specs, next(iter(metrics), ""))


def _to_served_context(context: Context) -> Context:
    """What a policy in the gateway was given: roles and words, a developer's turn as the system's."""
    if isinstance(context, str):
        return context
    return tuple(
        Message(role="system" if turn.role == "developer" else turn.role, content=turn.content) for turn in context
    )
