"""The traffic in a store: the answers whose edit has come, with what their costs and weights are made of."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select

from copydesk.data.record import Context, Message
from copydesk.errors import InputError
from copydesk.offpolicy.offers import ArmAvailability
from copydesk.store.read import IS_LATEST_REVISION, is_in_group, read_context
from copydesk.store.tables import completions, edits, pulls


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
