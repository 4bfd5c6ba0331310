"""The figures of a run, all computed from its rounds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, stdev
from typing import Any

from copydesk.errors import InputError

Round = Mapping[str, Any]
"""One line of rounds.jsonl."""

REQUIRED = ("seed", "t", "task", "user", "method", "policy", "kind", "context", "response", "edit", "cost")
MEASURES = ("accepted", "malformed", "facts", "length", "distance", "taste")
"""What a cell averages beside the cost, where rounds carry it as a number or a truth value."""

ORDER = ("base", "sft", "dpo", "rl", "early", "late")


def column_of(played: Round) -> str:
    """The column a round counts for: `task/user`."""
    return f"{played['task']}/{played['user']}"


def methods_of(rounds: Iterable[Round]) -> list[str]:
    """The methods that played, in the order of the tables; unknown ones last, as they come."""
    seen = list(dict.fromkeys(str(played["method"]) for played in rounds))
    return [method for method in ORDER if method in seen] + [method for method in seen if method not in ORDER]


def arms_of(rounds: Iterable[Round]) -> dict[str, str]:
    """The late ensemble's arms in the order of the tables, each policy with the name people know it by.

    That is the method whose policy it is, or the policy's own name where no method played it alone.
    """
    played = list(rounds)
    alone = {str(one["policy"]): str(one["method"]) for one in played if one["method"] != "late"}
    arms = {
        str(one["policy"]): alone.get(str(one["policy"]), str(one["policy"]))
        for one in played
        if one["method"] == "late"
    }
    order = methods_of(played)
    return dict(sorted(arms.items(), key=lambda arm: order.index(arm[1]) if arm[1] in order else len(order)))


def summarize(rounds: Iterable[Round], settings: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, Any]:
    """The content of results.json.

    A cell's `mean` is the mean over seeds of the mean cost of a round, `std` their sample standard deviation (0 for a
    single seed), `per_seed` the means in ascending order of the seed, and `rounds` how many rounds it is made of. The
    measures beside the cost are means over those rounds. `max_subopt` is a method's largest gap, over the columns, to
    the best method of the column, taken per seed and then averaged.

    Raises InputError when there are no rounds, or one lacks a field or has a cost that is no finite number.
    """
    by_cell: dict[tuple[str, str], dict[int, list[Round]]] = {}
    checked = [_checked(played, number) for number, played in enumerate(rounds, start=1)]
    if not checked:
        raise InputError("there are no rounds to summarise; play at least one")
    for played in checked:
        cell = by_cell.setdefault((column_of(played), str(played["method"])), {})
        cell.setdefault(int(played["seed"]), []).append(played)

    columns = list(dict.fromkeys(column_of(played) for played in checked))
    methods = methods_of(checked)
    return {
        "settings": dict(settings),
        "columns": columns,
        "methods": methods,
        "cells": {
            column: {m: _cell(by_cell[column, m]) for m in methods if (column, m) in by_cell} for column in columns
        },
        "max_subopt": _max_subopt(by_cell, methods),
        "seconds": dict(seconds),
    }


def _checked(played: Round, number: int) -> Round:
    missing = [field for field in REQUIRED if field not in played]
    if missing:
        raise InputError(f"round {number} lacks {', '.join(missing)}; play the rounds again")
    cost = played["cost"]
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not isfinite(cost):
        raise InputError(f"round {number}, field cost: {cost!r} is not a finite number")
    return played


def _spread(per_seed: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": fmean(per_seed),
        "std": stdev(per_seed) if len(per_seed) > 1 else 0.0,
        "per_seed": list(per_seed),
    }


def _mean_cost(rounds: Sequence[Round]) -> float:
    return fmean(played["cost"] for played in rounds)


def _cell(by_seed: Mapping[int, Sequence[Round]]) -> dict[str, Any]:
    rounds = [played for seed in sorted(by_seed) for played in by_seed[seed]]
    cell = _spread([_mean_cost(by_seed[seed]) for seed in sorted(by_seed)])
    cell["rounds"] = len(rounds)
    for name in MEASURES:
        values = [_measure(played, name) for played in rounds]
        known = [float(value) for value in values if isinstance(value, bool | int | float)]
        if known:
            cell[name] = fmean(known)
    return cell


def _measure(played: Round, name: str) -> Any:
    if name == "accepted":
        return played.get("accepted", played["edit"] == played["response"])
    return played.get(name)


def _max_subopt(
    by_cell: Mapping[tuple[str, str], Mapping[int, Sequence[Round]]], methods: Sequence[str]
) -> dict[str, dict[str, Any]]:
    costs = {
        (column, method, seed): _mean_cost(rounds)
        for (column, method), by_seed in by_cell.items()
        for seed, rounds in by_seed.items()
    }
    best: dict[tuple[str, int], float] = {}
    for (column, _, seed), cost in costs.items():
        best[column, seed] = min(cost, best.get((column, seed), cost))
    gaps: dict[str, dict[int, float]] = {method: {} for method in methods}
    for (column, method, seed), cost in costs.items():
        gaps[method][seed] = max(cost - best[column, seed], gaps[method].get(seed, 0.0))
    return {method: _spread([by_seed[seed] for seed in sorted(by_seed)]) for method, by_seed in gaps.items()}


@dataclass(frozen=True)
class Saving:
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
    def words(self) -> str:
        """The saving as a sentence that starts in lower case, e.g. `people edit 63% less than before`."""
        if not self.before:
            return "people edit now, and did not before" if self.after else "nobody edited anything, before or after"
        percent = round(100 * abs(self.share))
        if percent == 0:
            return "people edit as much as before"
        if percent == 100 and self.share > 0:
            return "people edit almost nothing now" if self.after else "people edit nothing any more"
        return f"people edit {percent}% {'less' if self.share > 0 else 'more'} than before"


def saving(results: Mapping[str, Any], method: str | None = None, baseline: str = "base") -> Saving | None:
    """What a method saves against the baseline, over the columns in which both played; None where there is none.

    Without `method` it is the late ensemble, which has to find its policy within the rounds that are counted; and
    only if it did not play, the method that came out cheapest.
    """
    if method is None:
        others = [name for name in results["methods"] if name != baseline]
        if not others:
            return None
        cheapest = {name: found.after for name in others if (found := saving(results, name, baseline))}
        method = "late" if "late" in others else min(cheapest, key=cheapest.__getitem__, default=others[0])
    cells = [cell for cell in results["cells"].values() if method in cell and baseline in cell]
    if not cells:
        return None
    before, after = (fmean(cell[name]["mean"] for cell in cells) for name in (baseline, method))
    return Saving(method, baseline, before, after)
