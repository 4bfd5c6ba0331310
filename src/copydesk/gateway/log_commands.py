"""Commands for the `LogWriter`: what each appends to the log, and what it changes in the ensemble."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ulid import ULID

from copydesk.ensemble.arm_stats import ArmState
from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.late import Pull
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError
from copydesk.gateway.log_writer import LogCommand
from copydesk.policy_spec import check_key_variable
from copydesk.store import write
from copydesk.store.transaction import Transaction
from copydesk.store.users import parse_scope
from copydesk.store.write import StoredCompletion, StoredEdit


class NoArmAvailable(Exception):
    """No arm can be chosen."""


@dataclass(frozen=True)
class EditAcknowledgement:
    """A logged edit.

    Attributes:
        stored_edit: the revision that counts.
        changed: whether the log changed; false if the same edit was there already.
        arms: the statistics after it of the arms that the editing user is offered.
    """

    stored_edit: StoredEdit
    changed: bool
    arms: list[dict[str, Any]]


def set_config(config: EnsembleConfig) -> LogCommand[None]:
    """Change the ensemble's settings, if they differ. Raises InputError if the log's costs are of another metric."""

    def work(tx: Transaction, ledger: Ledger) -> None:
        before = ledger.config
        if before is not None and before.metric != config.metric and ledger.started and ledger.ensemble.rounds:
            raise InputError(
                f"this store's costs are {before.metric}, not {config.metric}; start with the cost settings they were "
                "computed with, or with another store"
            )
        if ledger.config != config:
            ledger.apply(write.append_config(tx, config.to_json(), at=time.time()))

    return work


def add_arm(name: str, spec: str, audience: str | None) -> LogCommand[bool]:
    """Add a policy as an arm, for everyone or for the users of one scope; returns whether it is new.

    Raises InputError if the name belongs, or belonged, to another policy or another audience: policies are immutable.
    """

    def work(tx: Transaction, ledger: Ledger) -> bool:
        check_arm_name(ledger, name, spec, audience)
        if name in ledger.specs:
            return False
        ledger.apply(write.append_arm_change(tx, name, "add", spec, at=time.time(), audience=audience))
        return True

    return work


def check_arm_name(ledger: Ledger, name: str, spec: str, audience: str | None) -> None:
    """Check that a policy for these users may have this name.

    Raises:
        InputError: another policy has or had the name, it is for another audience, or the key of its server would be
            read from the variable of another policy.
    """
    if ledger.known_specs.get(name, spec) != spec:
        raise InputError(
            f"policy {name!r} already names {ledger.known_specs[name]}, and its edits are in the log; choose a new name"
        )
    if name in ledger.known_specs and (given := ledger.audiences.get(name)) != audience:
        raise InputError(f"policy {name!r} is for {_describe_audience(given)}, which cannot change; choose a new name")
    if name not in ledger.known_specs:
        check_key_variable(name, spec, ledger.known_specs)


def _describe_audience(audience: str | None) -> str:
    whom = {} if audience is None else parse_scope(audience)
    for what in ("user", "group"):
        if what in whom:
            return f"the {what} {whom[what]!r}"
    return "everyone" if audience is None else "nobody any more"


def retire_arm(name: str) -> LogCommand[None]:
    """Retire an arm. Raises LookupError if there is none, InputError if it is the last arm for everyone."""

    def work(tx: Transaction, ledger: Ledger) -> None:
        if name not in ledger.specs:
            raise LookupError(name)
        left = ledger.specs.keys() - {name}
        if not left or not (name in ledger.audiences or left - ledger.audiences.keys()):
            raise InputError(f"{name!r} is the only arm for everyone; add another one first")
        ledger.apply(write.append_arm_change(tx, name, "retire", None, at=time.time()))

    return work


def choose_arm(
    completion_id: str,
    requester: str | None,
    unreachable: Collection[str],
    tried: Collection[str],
    key: str | None = None,
) -> LogCommand[Pull]:
    """Let the ensemble choose an arm for a user, and log the choice.

    Arms in cooldown are skipped unless there is no other. Raises NoArmAvailable if no arm is left.

    Args:
        completion_id: of the request.
        requester: the scope of the requesting user.
        unreachable: arms that cannot be reached at all.
        tried: arms that failed to answer this request.
        key: id of the API key of the request.
    """

    def work(tx: Transaction, ledger: Ledger) -> Pull:
        now = time.time()
        # Arms for other users need not be logged: they follow from the requester.
        offered = ledger.specs.keys() - ledger.arms_hidden_from(requester)
        out = {*unreachable, *tried} & offered
        cooling = offered.intersection(ledger.arms_in_cooldown(now))
        without = sorted(out | cooling if offered - out - cooling else out)
        if not offered.difference(without):
            raise NoArmAvailable
        pull = ledger.peek_pull(requester, at=now, excluded=without)
        event = write.append_pull(
            tx,
            completion_id,
            at=now,
            round=pull.id,
            arm=pull.arm,
            propensity=pull.propensity,
            scope=pull.scope,
            turn=pull.turn,
            without=without,
            asker=None if pull.scope == requester else requester,
            key=key,
        )
        ledger.apply(event)
        return pull

    return work


def record_failure(
    completion_id: str, arm: str, round: int | None, reason: str, cooldown: float | None
) -> LogCommand[None]:
    """Log that a request was not answered; `cooldown` is how many seconds its arm is not chosen."""

    def work(tx: Transaction, ledger: Ledger) -> None:
        now = time.time()
        rest_until = None if cooldown is None else now + cooldown
        ledger.apply(
            write.append_failure(
                tx, completion_id, at=now, arm=arm, round=round, reason=reason[:500], rest_until=rest_until
            )
        )

    return work


def record_completion(completion: StoredCompletion) -> LogCommand[None]:
    """Log an answer."""

    def work(tx: Transaction, ledger: Ledger) -> None:
        write.append_completion(tx, completion)

    return work


def record_edit(
    completion_id: str, text: str, cost: float, metric: str, requester: str | None, key: str | None = None
) -> LogCommand[EditAcknowledgement]:
    """Log an edit and let the ensemble learn from it. Raises LookupError if there is no such completion.

    `requester` is the scope of the editing user; the acknowledgement has the arms that this user is offered. `key`
    is the id of the API key that the edit was sent with.
    """
    edit_id = f"edit-{ULID()}"

    def work(tx: Transaction, ledger: Ledger) -> EditAcknowledgement:
        stored, event = write.append_edit(tx, edit_id, completion_id, text, cost, metric, at=time.time(), key=key)
        if event is not None:
            ledger.apply(event)
        return EditAcknowledgement(
            stored, stored.id == edit_id, describe_arms(ledger, excluded=ledger.arms_hidden_from(requester))
        )

    return work


def describe_arms(ledger: Ledger, scope: str | None = None, excluded: Collection[str] = ()) -> list[dict[str, Any]]:
    """The statistics of the active arms as JSON values; of one scope's rounds only, if one is given."""
    if not ledger.started:
        return []
    states = ledger.ensemble.arms if scope is None else ledger.ensemble.scope_states(scope)
    cooling = ledger.arms_in_cooldown(time.time())
    return [
        {
            "name": name,
            "status": "resting" if name in cooling else "active",
            "resting_until": ledger.cooldowns[name] if name in cooling else None,
            "audience": parse_scope(ledger.audiences[name]) if name in ledger.audiences else None,
            **describe_arm_state(state),
        }
        for name, state in states.items()
        if name not in excluded
    ]


def describe_arm_state(state: ArmState) -> dict[str, Any]:
    """An arm's statistics as JSON values; `low` and `high` are those of `ArmState.interval`."""
    low, high = state.interval or (None, None)
    return {
        "pulls": state.pulls,
        "observed": state.n,
        "pending": state.pending,
        "cost_sum": state.cost_sum,
        "cost_sq_sum": state.cost_sq_sum,
        "mean_cost": state.mean,
        "std": state.std,
        "low": low,
        "high": high,
    }
