"""How far a method may be from the best one, when nobody knows which user one has."""

from collections.abc import Iterable, Mapping
from typing import Any

from copydesk.report.columns import parse_scenario
from copydesk.report.spread import summarize_spread
from copydesk.report.style import exclude_oracle

SINGLE_FEEDBACK_METHODS = ("sft", "dpo", "rl")
"""The methods that learn from one kind of feedback."""
ENSEMBLE_METHODS = ("early", "late")

SeedCosts = Mapping[tuple[str, str], Mapping[int, float]]
"""The mean cost of a round, by column and method, then by seed."""


def filter_plain_scenarios(columns: Iterable[str]) -> list[str]:
    """The columns that stand for a task and a user and nothing else; all of them where none does."""
    found = list(columns)
    return [column for column in found if parse_scenario(column).is_plain] or found


def filter_unswept_scenarios(columns: Iterable[str]) -> list[str]:
    """The columns of a table: those of `filter_plain_scenarios`, and those in which others are met than the user of the log."""
    return [column for column in columns if not parse_scenario(column).swept_parameter]


def compute_largest_gaps(costs: SeedCosts, columns: Iterable[str]) -> dict[str, dict[int, float]]:
    """Each method's largest gap, over some columns, to the best method of the column, by seed.

    A method that did not play in all of them is left out and measures nobody: over fewer columns a maximum is smaller.
    The oracle is no method one could choose and is never the best; the gap of a method that is cheaper than all others
    everywhere is 0.
    """
    counted = set(columns)
    columns_of = {method: {column for column, other in costs if other == method} for _, method in costs}
    everywhere = [method for method, own in columns_of.items() if counted <= own]
    gaps: dict[str, dict[int, float]] = {}
    for (column, method), by_seed in costs.items():
        if column not in counted or method not in everywhere:
            continue
        rivals = exclude_oracle(everywhere)
        for seed, cost in by_seed.items():
            there = [costs[column, other][seed] for other in rivals if seed in costs[column, other]]
            own = gaps.setdefault(method, {})
            own[seed] = max(cost - min([*there, cost]), own.get(seed, 0.0))
    return gaps


def average_max_subopt(gaps: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, Any]]:
    """`compute_largest_gaps`, averaged over seeds."""
    return {method: summarize_spread([own[seed] for seed in sorted(own)]) for method, own in gaps.items()}


def compute_robustness(gaps: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, Any]]:
    """An ensemble's Max SubOpt, divided by that of the best method of a single feedback; per seed, then averaged.

    Below 1 the ensemble is the safer choice. It is there for each ensemble that played in the same seeds as at least
    one of those methods, and only where the best of them is not the best everywhere: its Max SubOpt is 0 then, and
    there is nothing to divide by.
    """
    found = {}
    for ensemble in ENSEMBLE_METHODS:
        own = gaps.get(ensemble, {})
        singles = [
            gaps[method] for method in SINGLE_FEEDBACK_METHODS if method in gaps and gaps[method].keys() == own.keys()
        ]
        best = {seed: min((single[seed] for single in singles), default=0.0) for seed in sorted(own)}
        if own and all(best.values()):
            found[ensemble] = summarize_spread([own[seed] / best[seed] for seed in best])
    return found
