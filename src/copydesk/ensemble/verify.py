"""Verifies a log by replaying it: every choice is repeated and every sum recomputed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isclose

from copydesk.ensemble.ledger import Ledger
from copydesk.store.events import ArmPulled, EditRecorded, LogEvent, UserForgotten


@dataclass(frozen=True)
class Verification:
    """Result of verifying a log.

    Attributes:
        ledger: the ensemble rebuilt from the log.
        events: number of events read.
        choices: number of choices repeated.
        unverifiable: number of choices that depended on data of users forgotten since.
        errors: the differences found, as sentences.
    """

    ledger: Ledger
    events: int
    choices: int
    unverifiable: int
    errors: list[str]


def verify_log(events: Iterable[LogEvent], forgotten: Sequence[UserForgotten] = ()) -> Verification:
    """Rebuild the ensemble from its events and repeat each choice.

    A choice depends on the state before it, the round, the seed, the requesting user and the unavailable arms, all of
    which the log contains. The same scope must choose the same arm with the same propensity.

    Args:
        events: events of the log, in order.
        forgotten: those of them that record forgotten users. A choice between the first round that one of them erased
            and the erasure depended on data that is gone, and is not repeated.
    """
    ledger = Ledger()
    costs: dict[str, float] = {}
    errors: list[str] = []
    read = choices = unverifiable = 0
    gaps = [(one.first_seq, one.seq) for one in forgotten if one.first_seq is not None]
    for event in events:
        read += 1
        if isinstance(event, ArmPulled):
            if any(first < event.seq < erased for first, erased in gaps):
                unverifiable += 1
            else:
                choices += 1
                errors += _check_choice(ledger, event)
        if isinstance(event, EditRecorded):
            if event.previous_cost != costs.get(event.completion_id):
                errors.append(f"event {event.seq}: the edit does not follow the revision before it")
            costs[event.completion_id] = event.cost
        try:
            ledger.apply(event)
        except (ValueError, LookupError) as exc:
            errors.append(f"event {event.seq}: {exc}")
    return Verification(ledger, read, choices, unverifiable, errors)


def _check_choice(ledger: Ledger, event: ArmPulled) -> list[str]:
    try:
        again = ledger.peek_pull(event.user_scope, at=event.at, excluded=event.unavailable_arms)
    except (ValueError, LookupError) as exc:
        return [f"event {event.seq}, round {event.round}: the choice cannot be repeated ({exc})"]
    if again.arm != event.arm or not isclose(again.propensity, event.propensity, rel_tol=1e-9):
        logged, chosen = f"{event.arm} ({event.propensity:g})", f"{again.arm} ({again.propensity:g})"
        return [f"event {event.seq}, round {event.round}: {logged} was logged, the log says {chosen}"]
    if again.scope != event.scope:
        return [f"event {event.seq}, round {event.round}: {event.scope} decided, the log says {again.scope}"]
    return []
