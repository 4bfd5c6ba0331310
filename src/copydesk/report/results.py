"""The figures of a run, all computed from its rounds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from copydesk.errors import InputError
from copydesk.report.columns import parse_scenario
from copydesk.report.metrics import (
    average_max_subopt,
    compute_largest_gaps,
    compute_robustness,
    filter_plain_scenarios,
    filter_unswept_scenarios,
)
from copydesk.report.regret import summarize_regrets
from copydesk.report.rounds import RoundRow, check_round, get_scenario_name, list_methods
from copydesk.report.spread import summarize_spread
from copydesk.report.style import exclude_oracle, is_late

MEASURES = ("accepted", "malformed", "facts", "length", "distance", "taste")
"""What a cell averages beside the cost, where rounds carry it as a number or a truth value."""


def summarize_rounds(
    rounds: Iterable[RoundRow], settings: Mapping[str, Any], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """The content of results.json.

    A cell's `mean` is the mean over seeds of the mean cost of a round, `std` their sample standard deviation (0 for a
    single seed), `per_seed` the means in ascending order of the seed, and `rounds` how many rounds it is made of. The
    measures beside the cost are means over those rounds. `average_max_subopt` is a method's largest gap, over the plain columns
    (no shifted or changing user, no sweep; all columns where none is plain), to the best method of the column other
    than the oracle, taken per seed and then averaged. Where methods for it played, there are `regret`, see
    `summarize_regrets`, and `robustness`, see there. Where others are met than the user of the log, `max_subopt_all` and
    `robustness_all` are the same over all columns but those of sweeps.

    Raises InputError when there are no rounds, or one lacks a field or has a cost that is no finite number.
    """
    by_cell: dict[tuple[str, str], dict[int, list[RoundRow]]] = {}
    played = [check_round(one, number) for number, one in enumerate(rounds, start=1)]
    if not played:
        raise InputError("there are no rounds to summarise; play at least one")
    for one in played:
        cell = by_cell.setdefault((get_scenario_name(one), str(one["method"])), {})
        cell.setdefault(int(one["seed"]), []).append(one)

    columns = list(dict.fromkeys(column for column, _ in by_cell))
    methods = list_methods(played)
    costs = {place: {seed: _mean_cost(own) for seed, own in seeds.items()} for place, seeds in by_cell.items()}
    gaps = compute_largest_gaps(costs, filter_plain_scenarios(columns))
    wide = (
        compute_largest_gaps(costs, filter_unswept_scenarios(columns))
        if any(parse_scenario(name).is_shifted for name in columns)
        else {}
    )
    regret, robust, robust_all = summarize_regrets(played), compute_robustness(gaps), compute_robustness(wide)
    return {
        "settings": dict(settings),
        "columns": columns,
        "methods": methods,
        "cells": {
            column: {m: _summarize_seeds(by_cell[column, m]) for m in methods if (column, m) in by_cell}
            for column in columns
        },
        "max_subopt": average_max_subopt({m: gaps[m] for m in methods if m in gaps}),
        **({"regret": regret} if regret else {}),
        **({"robustness": robust} if robust else {}),
        **({"max_subopt_all": average_max_subopt({m: wide[m] for m in methods if m in wide})} if wide else {}),
        **({"robustness_all": robust_all} if robust_all else {}),
        "seconds": dict(seconds),
    }


def _mean_cost(rounds: Sequence[RoundRow]) -> float:
    return fmean(played["cost"] for played in rounds)


def _summarize_seeds(by_seed: Mapping[int, Sequence[RoundRow]]) -> dict[str, Any]:
    rounds = [played for seed in sorted(by_seed) for played in by_seed[seed]]
    cell = summarize_spread([_mean_cost(by_seed[seed]) for seed in sorted(by_seed)])
    cell["rounds"] = len(rounds)
    for name in MEASURES:
        values = [_get_measure(played, name) for played in rounds]
        known = [float(value) for value in values if isinstance(value, bool | int | float)]
        if known:
            cell[name] = fmean(known)
    return cell


def _get_measure(played: RoundRow, name: str) -> Any:
    if name == "accepted":
        return played.get("accepted", played["edit"] == played["response"])
    return played.get(name)


@dataclass(frozen=True)
class CostReduction:
    """How much less people edit with `method` than with `baseline`; costs are means over the columns."""

    method: str
    baseline: str
    before: float
    after: float

    @property
    def share(self) -> float:
        """The part of the edit cost that went away; negative when it grew, 0 when there was none to begin with."""
        return 1 - self.after / self.before if self.before else 0.0

    @property
    def description(self) -> str:
        """The saving as a sentence that starts in lower case, e.g. `people edit 63% less than before`."""
        if not self.before:
            return "people edit now, and did not before" if self.after else "nobody edited anything, before or after"
        percent = round(100 * abs(self.share))
        if percent == 0:
            return "people edit as much as before"
        if percent == 100 and self.share > 0:
            return "people edit almost nothing now" if self.after else "people edit nothing any more"
        return f"people edit {percent}% {'less' if self.share > 0 else 'more'} than before"


def compute_cost_reduction(
    results: Mapping[str, Any], method: str | None = None, baseline: str = "base"
) -> CostReduction | None:
    """What a method saves against the baseline, over the columns in which both played; None where there is none.

    These are the plain columns, and shifted users or sweeps only where there is no plain one. Without `method` it is
    the late ensemble, which has to find its policy within the rounds that are counted; and only if it did not play, the
    method that came out cheapest, the oracle aside.
    """
    if method is None:
        others = exclude_oracle(name for name in results["methods"] if name != baseline)
        if not others:
            return None
        cheapest = {name: found.after for name in others if (found := compute_cost_reduction(results, name, baseline))}
        cheap = min(cheapest, key=cheapest.__getitem__, default=others[0])
        method = next((name for name in others if is_late(name)), cheap)
    both = [column for column, cells in results["cells"].items() if method in cells and baseline in cells]
    if not both:
        return None
    cells = [results["cells"][column] for column in filter_plain_scenarios(both)]
    before, after = (fmean(cell[name]["mean"] for cell in cells) for name in (baseline, method))
    return CostReduction(method, baseline, before, after)
