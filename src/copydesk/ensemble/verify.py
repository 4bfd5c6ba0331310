"""Checking a log against what it must be: every choice is made again, and every number added up again."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isclose

from copydesk.ensemble.ledger import Ledger
from copydesk.log.store.events import Edited, Event, Pulled


@dataclass(frozen=True)
class Verification:
    """What came out.

    Attributes:
        ledger: the ensemble rebuilt from the log.
        events: how many events were read.
        choices: how many choices were made again.
        faults: what was found wrong, in sentences; empty when all is well.
    """

    ledger: Ledger
    events: int
    choices: int
    faults: list[str]


def verify(events: Iterable[Event]) -> Verification:
    """Rebuild the ensemble from its events and make each choice again.

    A choice depends on the state before it, the round, the seed and the arms that could not be chosen, all of which
    the log holds. So it must come out the same, and with the same propensity.
    """
    ledger = Ledger()
    costs: dict[str, float] = {}
    faults: list[str] = []
    read = choices = 0
    for event in events:
        read += 1
        if isinstance(event, Pulled):
            choices += 1
            faults += _check_choice(ledger, event)
        if isinstance(event, Edited):
            if event.previous_cost != costs.get(event.completion_id):
                faults.append(f"event {event.seq}: the edit does not follow the revision before it")
            costs[event.completion_id] = event.cost
        try:
            ledger.apply(event)
        except (ValueError, LookupError) as fault:
            faults.append(f"event {event.seq}: {fault}")
    return Verification(ledger, read, choices, faults)


def _check_choice(ledger: Ledger, event: Pulled) -> list[str]:
    try:
        again = ledger.ensemble.next_pull(event.scope, at=event.at, without=event.without)
    except (ValueError, LookupError) as fault:
        return [f"event {event.seq}, round {event.round}: the choice cannot be made again ({fault})"]
    if again.arm != event.arm or not isclose(again.propensity, event.propensity, rel_tol=1e-9):
        logged, chosen = f"{event.arm} ({event.propensity:g})", f"{again.arm} ({again.propensity:g})"
        return [f"event {event.seq}, round {event.round}: {logged} was logged, the log says {chosen}"]
    return []
