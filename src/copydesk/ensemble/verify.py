"""Checking a log against what it must be: every choice is made again, and every number added up again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isclose

from copydesk.ensemble.ledger import Ledger
from copydesk.store.events import ArmPulled, EditRecorded, LogEvent, UserForgotten


@dataclass(frozen=True)
class Verification:
    """What came out.

    Attributes:
        ledger: the ensemble rebuilt from the log.
        events: how many events were read.
        choices: how many choices were made again.
        unverifiable: how many could not be, since they were made on what a person who was forgotten had told.
        errors: what was found wrong, in sentences; empty when all is well.
    """

    ledger: Ledger
    events: int
    choices: int
    unverifiable: int
    errors: list[str]


def verify_log(events: Iterable[LogEvent], forgotten: Sequence[UserForgotten] = ()) -> Verification:
    """Rebuild the ensemble from its events and make each choice again.

    A choice depends on the state before it, the round, the seed, who asked and the arms that could not be chosen, all
    of which the log holds. So it must come out the same, decided by the same scope and with the same propensity.

    Args:
        events: of the log, in order.
        forgotten: those of them that say that somebody was forgotten. A choice between the first round that one of
            them erased and the erasing itself was made on more than the log holds now, and is not made again.
    """
    ledger = Ledger()
    costs: dict[str, float] = {}
    faults: list[str] = []
    read = choices = lost = 0
    gaps = [(one.first_seq, one.seq) for one in forgotten if one.first_seq is not None]
    for event in events:
        read += 1
        if isinstance(event, ArmPulled):
            if any(first < event.seq < erased for first, erased in gaps):
                lost += 1
            else:
                choices += 1
                faults += _check_choice(ledger, event)
        if isinstance(event, EditRecorded):
            if event.previous_cost != costs.get(event.completion_id):
                faults.append(f"event {event.seq}: the edit does not follow the revision before it")
            costs[event.completion_id] = event.cost
        try:
            ledger.apply(event)
        except (ValueError, LookupError) as exc:
            faults.append(f"event {event.seq}: {exc}")
    return Verification(ledger, read, choices, lost, faults)


def _check_choice(ledger: Ledger, event: ArmPulled) -> list[str]:
    try:
        again = ledger.peek_pull(event.user_scope, at=event.at, excluded=event.unavailable_arms)
    except (ValueError, LookupError) as exc:
        return [f"event {event.seq}, round {event.round}: the choice cannot be made again ({exc})"]
    if again.arm != event.arm or not isclose(again.propensity, event.propensity, rel_tol=1e-9):
        logged, chosen = f"{event.arm} ({event.propensity:g})", f"{again.arm} ({again.propensity:g})"
        return [f"event {event.seq}, round {event.round}: {logged} was logged, the log says {chosen}"]
    if again.scope != event.scope:
        return [f"event {event.seq}, round {event.round}: {event.scope} decided, the log says {again.scope}"]
    return []
