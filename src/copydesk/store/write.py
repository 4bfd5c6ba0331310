"""Appends to the log; rows that are part of the ensemble's state are returned as events."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import and_, select

from copydesk.store import tables
from copydesk.store.events import ArmChanged, ArmPulled, ConfigChanged, EditRecorded, MembershipChanged, PullWithdrawn
from copydesk.store.transaction import Transaction


@dataclass(frozen=True)
class StoredCompletion:
    """A request and its answer.

    Attributes:
        id: id of the completion, named by its edits.
        at: time of the request, in seconds since 1970.
        tenant: tenant of the request.
        user: user named by the request.
        requested: model named by the client.
        policy: policy that answered.
        propensity: probability the policy was chosen with; 1 if requested by name.
        round: round of the ensemble's pull; `None` if requested by name.
        messages: the context as it was sent.
        parameters: the rest of the request.
        response: text of the answer.
        finish_reason: why the answer ended.
        usage: token counts reported by the policy.
        key: id of the API key of the request.
    """

    id: str
    at: float
    tenant: str
    user: str | None
    requested: str
    policy: str
    propensity: float
    round: int | None
    messages: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any]
    response: str
    finish_reason: str | None
    usage: Mapping[str, Any] | None
    key: str | None = None


class TooManyRevisions(Exception):
    """An answer has as many revisions of its edit as it may have."""


@dataclass(frozen=True)
class StoredEdit:
    """A revision of a completion's edit; `round` is the ensemble's, `None` if the policy was requested by name."""

    id: str
    completion_id: str
    revision: int
    edit: str
    cost: float
    metric: str
    round: int | None


def append_config(tx: Transaction, settings: Mapping[str, Any], *, at: float) -> ConfigChanged:
    """Log new settings of the ensemble."""
    seq = tx.append(tables.settings, at=at, settings=json.dumps(settings))
    return ConfigChanged(seq, at, dict(settings))


def append_arm_change(
    tx: Transaction,
    name: str,
    action: Literal["add", "retire"],
    spec: str | None,
    *,
    at: float,
    audience: str | None = None,
) -> ArmChanged:
    """Log that an arm was added, for everyone or for the users of one scope, or retired."""
    seq = tx.append(tables.arms, at=at, name=name, action=action, spec=spec, audience=audience)
    return ArmChanged(seq, at, name, action, spec, audience)


def append_membership(tx: Transaction, tenant: str, user: str, group: str | None, *, at: float) -> MembershipChanged:
    """Log that a user moved to a group; `None` for no group."""
    seq = tx.append(tables.memberships, at=at, tenant=tenant, user=user, group=group)
    return MembershipChanged(seq, at, tenant, user, group)


def append_pull(
    tx: Transaction,
    completion_id: str,
    *,
    at: float,
    round: int,
    arm: str,
    propensity: float,
    scope: str | None,
    turn: int,
    without: Sequence[str],
    asker: str | None = None,
    key: str | None = None,
) -> ArmPulled:
    """Log a choice of the ensemble.

    `asker` is the scope of the requesting user, if another scope decided; `key` is the id of the API key of the
    request.
    """
    seq = tx.append(
        tables.pulls,
        at=at,
        completion_id=completion_id,
        round=round,
        arm=arm,
        propensity=propensity,
        scope=scope,
        turn=turn,
        without=json.dumps(list(without)) if without else None,
        asker=asker,
        key=key,
    )
    return ArmPulled(seq, at, completion_id, round, arm, propensity, scope, turn, tuple(without), asker, key)


def append_failure(
    tx: Transaction,
    completion_id: str,
    *,
    at: float,
    arm: str,
    round: int | None,
    reason: str,
    rest_until: float | None,
) -> PullWithdrawn:
    """Log a failed request."""
    seq = tx.append(
        tables.withdrawals,
        at=at,
        completion_id=completion_id,
        arm=arm,
        round=round,
        reason=reason,
        rest_until=rest_until,
    )
    return PullWithdrawn(seq, at, arm, round, rest_until)


def append_completion(tx: Transaction, completion: StoredCompletion) -> None:
    """Log an answer. Idempotent: a retry after a commit that was not acknowledged changes nothing."""
    tx.append(
        tables.completions,
        unless_known=True,
        at=completion.at,
        id=completion.id,
        tenant=completion.tenant,
        user=completion.user,
        requested=completion.requested,
        policy=completion.policy,
        propensity=completion.propensity,
        round=completion.round,
        context=json.dumps(completion.messages),
        parameters=json.dumps(completion.parameters),
        response=completion.response,
        finish_reason=completion.finish_reason,
        usage=None if completion.usage is None else json.dumps(completion.usage),
        key=completion.key,
    )


def append_edit(
    tx: Transaction,
    edit_id: str,
    completion_id: str,
    edit: str,
    cost: float,
    metric: str,
    *,
    at: float,
    key: str | None = None,
    max_revisions: int | None = None,
) -> tuple[StoredEdit, EditRecorded | None]:
    """Log an edit as a new revision, unless it equals the latest one.

    Returns:
        The current revision; and the event, if the revision is new and the ensemble had chosen the policy.

    Raises:
        LookupError: there is no such completion.
        TooManyRevisions: it has `max_revisions` already.
    """
    edits, completions, pulls = tables.edits, tables.completions, tables.pulls
    query = select(pulls.c.round, pulls.c.arm, pulls.c.scope, pulls.c.turn, pulls.c.at, pulls.c.asker, completions.c.id)
    chosen = and_(pulls.c.round == completions.c.round, pulls.c.arm != "")  # not one erased meanwhile
    query = query.select_from(completions.outerjoin(pulls, chosen))
    found = tx.connection.execute(query.where(completions.c.id == completion_id)).first()
    if found is None:
        raise LookupError(f"there is no completion {completion_id!r}")
    latest = tx.connection.execute(
        select(edits).where(edits.c.completion_id == completion_id).order_by(edits.c.revision.desc()).limit(1)
    ).first()
    if latest is not None and latest.edit == edit:
        return StoredEdit(
            latest.id, completion_id, latest.revision, edit, latest.cost, latest.metric, found.round
        ), None
    revision = 1 if latest is None else latest.revision + 1
    if max_revisions is not None and revision > max_revisions:
        raise TooManyRevisions(f"this answer has {max_revisions} revisions of its edit, the most it may have")
    previous = None if latest is None else float(latest.cost)
    seq = tx.append(
        edits,
        at=at,
        id=edit_id,
        completion_id=completion_id,
        revision=revision,
        edit=edit,
        cost=cost,
        previous_cost=previous,
        metric=metric,
        key=key,
    )
    stored = StoredEdit(edit_id, completion_id, revision, edit, cost, metric, found.round)
    if found.round is None:
        return stored, None
    return stored, EditRecorded(
        seq,
        at,
        completion_id,
        found.round,
        found.arm,
        found.scope,
        found.turn,
        found.at,
        cost,
        previous,
        found.asker,
        key,
    )
