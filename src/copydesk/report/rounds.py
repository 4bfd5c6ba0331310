"""Rounds, as rounds.jsonl holds them, and what they are rounds of."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from copydesk.errors import InputError
from copydesk.report.methods import in_order, is_late

Round = Mapping[str, Any]
"""One line of rounds.jsonl."""

REQUIRED = ("seed", "t", "task", "user", "method", "policy", "kind", "context", "response", "edit", "cost")


def column_of(played: Round) -> str:
    """The column a round counts for: `task/user`."""
    return f"{played['task']}/{played['user']}"


def methods_of(rounds: Iterable[Round]) -> list[str]:
    """The methods that played, in the order of the tables; unknown ones last, as they come."""
    return in_order(str(played["method"]) for played in rounds)


def arms_of(rounds: Iterable[Round]) -> dict[str, str]:
    """The arms of the late ensembles in the order of the tables, each policy with the name people know it by.

    That is the method whose policy it is, or the policy's own name where no method played it alone.
    """
    played = list(rounds)
    alone = {str(one["policy"]): str(one["method"]) for one in played if not is_late(str(one["method"]))}
    arms = {
        str(one["policy"]): alone.get(str(one["policy"]), str(one["policy"]))
        for one in played
        if is_late(str(one["method"]))
    }
    order = methods_of(played)
    return dict(sorted(arms.items(), key=lambda arm: order.index(arm[1]) if arm[1] in order else len(order)))


def by_column(rounds: Iterable[Round]) -> dict[str, list[Round]]:
    """The rounds of each column, columns and rounds as they come."""
    found: dict[str, list[Round]] = {}
    for played in rounds:
        found.setdefault(column_of(played), []).append(played)
    return found


def checked(played: Round, number: int) -> Round:
    """The round, if it has every field and its cost is a number.

    Raises InputError that names the round by its `number` otherwise.
    """
    missing = [field for field in REQUIRED if field not in played]
    if missing:
        raise InputError(f"round {number} lacks {', '.join(missing)}; play the rounds again")
    cost = played["cost"]
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not isfinite(cost):
        raise InputError(f"round {number}, field cost: {cost!r} is not a finite number; play the rounds again")
    return played
