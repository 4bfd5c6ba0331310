"""Rounds as `rounds.jsonl` holds them: their columns, methods and arms, and a check of their fields."""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from copydesk.errors import InputError
from copydesk.report.style import is_late, sort_methods

RoundRow = Mapping[str, Any]
"""One line of `rounds.jsonl`."""

REQUIRED_FIELDS = ("seed", "t", "task", "user", "method", "policy", "kind", "context", "response", "edit", "cost")


def get_scenario_name(played: RoundRow) -> str:
    """The column a round counts for: `task/user`."""
    return f"{played['task']}/{played['user']}"


def list_methods(rounds: Iterable[RoundRow]) -> list[str]:
    """The methods that played, in the order of the tables; unknown ones last, in the order they appear."""
    return sort_methods(str(played["method"]) for played in rounds)


def list_arms(rounds: Iterable[RoundRow]) -> dict[str, str]:
    """The arms of the late ensembles in the order of the tables: the name shown for each policy.

    It is the method whose policy it is, or the policy's own name if no method played it alone.
    """
    played = list(rounds)
    alone = {str(one["policy"]): str(one["method"]) for one in played if not is_late(str(one["method"]))}
    arms = {
        str(one["policy"]): alone.get(str(one["policy"]), str(one["policy"]))
        for one in played
        if is_late(str(one["method"]))
    }
    order = list_methods(played)
    return dict(sorted(arms.items(), key=lambda arm: order.index(arm[1]) if arm[1] in order else len(order)))


def group_by_scenario(rounds: Iterable[RoundRow]) -> dict[str, list[RoundRow]]:
    """Group rounds by column, in the order they appear."""
    columns: dict[str, list[RoundRow]] = {}
    for played in rounds:
        columns.setdefault(get_scenario_name(played), []).append(played)
    return columns


def check_round(played: RoundRow, number: int) -> RoundRow:
    """Check that a round has every field and a finite cost.

    Args:
        played: the round.
        number: its place in the file, for the error message.

    Returns:
        The round.

    Raises:
        InputError: a field is missing, or the cost is not a finite number.
    """
    missing = [field for field in REQUIRED_FIELDS if field not in played]
    if missing:
        raise InputError(f"round {number} lacks {', '.join(missing)}; play the rounds again")
    cost = played["cost"]
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not isfinite(cost):
        raise InputError(f"round {number}, field cost: {cost!r} is not a finite number; play the rounds again")
    return played
