"""How far a method may be from the best one, when nobody knows which user one has.

What it costs a late ensemble to find out which of its policies is the best.

A figure over seeds.

The results of the paper, as its poster shows them.

Source: poster of *Principled Fine-tuning of LLMs from User-Edits: A Medley of Preference, Supervision, and Reward*,
Misra, Pacchiano, Chi and Gao, NeurIPS 2025, arXiv 2601.19055, section Results. Summaries and emails for users that a
language model plays: strong, Qwen 3 32B, and weak, Llama 3.1 8B. Every figure is a mean and a spread over seeds. The
poster has no row for RL.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, stdev
from typing import Any

from copydesk.report.columns import parse_scenario
from copydesk.report.rounds import RoundRow, group_by_scenario, list_arms, list_methods
from copydesk.report.style import exclude_oracle, is_late


def summarize_spread(per_seed: Sequence[float]) -> dict[str, Any]:
    """The mean over seeds, their sample standard deviation (0 for a single seed), and the figures themselves."""
    return {
        "mean": fmean(per_seed),
        "std": stdev(per_seed) if len(per_seed) > 1 else 0.0,
        "per_seed": list(per_seed),
    }


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
    """The columns of a table: `filter_plain_scenarios`, and those in which another user than that of the log is met."""
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


@dataclass(frozen=True)
class SeedRegret:
    """A late ensemble beside the best single arm in hindsight, in one seed.

    That arm is the policy that cost least over all the rounds of the seed, had it answered every one of them.

    Attributes:
        seed: the seed.
        best: the arm, by the name people know it by.
        late_costs: the ensemble's cost in each round.
        best_costs: that arm's cost in the same rounds.
    """

    seed: int
    best: str
    late_costs: Sequence[float]
    best_costs: Sequence[float]

    @property
    def total(self) -> float:
        """The total cost of the ensemble minus that of the arm; negative where switching paid."""
        return sum(self.late_costs) - sum(self.best_costs)

    @property
    def ratio(self) -> float | None:
        """The total cost of the ensemble divided by that of the arm; None where the arm costs nothing."""
        return sum(self.late_costs) / sum(self.best_costs) if sum(self.best_costs) else None

    @property
    def curve(self) -> list[float]:
        """The regret after each round: costs summed up to it."""
        return list(accumulate(late - best for late, best in zip(self.late_costs, self.best_costs, strict=True)))


def compute_regrets(rounds: Iterable[RoundRow], arms: Collection[str] | None = None) -> dict[str, list[SeedRegret]]:
    """The regret of each late ensemble in one column, an entry a seed in ascending order.

    The arms are the policies that any of the column's late ensembles played, or those of the methods `arms`, and that
    played alone there as well, in the same rounds of the same seed. A seed without such an arm, and an ensemble without
    such a seed, is left out.
    """
    played = list(rounds)
    methods_of_arms = set(list_arms(played).values()) if arms is None else set(arms)
    costs: dict[tuple[str, int], dict[int, float]] = {}
    for one in played:
        method = str(one["method"])
        if is_late(method) or method in methods_of_arms:
            costs.setdefault((method, int(one["seed"])), {})[int(one["t"])] = float(one["cost"])
    methods = list_methods(played)
    alone = [method for method in methods if not is_late(method)]
    found: dict[str, list[SeedRegret]] = {}
    for late in filter(is_late, methods):
        for seed in sorted(seed for method, seed in costs if method == late):
            own = costs[late, seed]
            rivals = {arm: costs[arm, seed] for arm in alone if costs.get((arm, seed), {}).keys() == own.keys()}
            if rivals:
                best = min(rivals, key=lambda arm: sum(rivals[arm].values()))
                order = sorted(own)
                regret = SeedRegret(seed, best, [own[t] for t in order], [rivals[best][t] for t in order])
                found.setdefault(late, []).append(regret)
    return found


def summarize_regrets(rounds: Iterable[RoundRow]) -> dict[str, dict[str, dict[str, Any]]]:
    """The regrets by column and late ensemble, as results.json holds them.

    `regret` is in the units of the cost, summed over the rounds of a seed; `ratio` is that of the totals, and is left
    out where an arm costs nothing in some seed; `best_total` is the total of the best arm and `best` its name, a seed
    each. Columns without a late ensemble are left out. What the ensemble of any column played is an arm in every one,
    also where an ensemble that knew of the others' rounds never tried it.
    """
    columns = group_by_scenario(rounds)
    arms = {arm for own in columns.values() for arm in list_arms(own).values()}
    cells = {
        column: {m: _summarize_seed_regrets(r) for m, r in compute_regrets(own, arms).items()}
        for column, own in columns.items()
    }
    return {column: own for column, own in cells.items() if own}


def _summarize_seed_regrets(regrets: Sequence[SeedRegret]) -> dict[str, Any]:
    ratios = [regret.ratio for regret in regrets]
    known = [ratio for ratio in ratios if ratio is not None]
    return {
        "regret": summarize_spread([regret.total for regret in regrets]),
        **({"ratio": summarize_spread(known)} if len(known) == len(ratios) else {}),
        "best_total": summarize_spread([sum(regret.best_costs) for regret in regrets]),
        "best": [regret.best for regret in regrets],
    }


PAPER_SCENARIOS = ("summarization/strong", "summarization/weak", "email/strong", "email/weak")

_PAPER_TABLE = {
    "base": [(0.9455, 0.01), (0.9445, 0.02), (0.5108, 0.03), (0.4923, 0.01), (0.7364, 0.10)],
    "sft": [(0.5377, 0.02), (0.9304, 0.19), (0.4159, 0.05), (0.4539, 0.03), (0.5772, 0.19)],
    "dpo": [(1.0790, 0.06), (0.8267, 0.06), (0.3365, 0.00), (0.3368, 0.01), (0.8698, 0.11)],
    "early": [(0.2092, 0.09), (0.3586, 0.01), (0.3438, 0.06), (0.4864, 0.01), (0.1612, 0.01)],
    "late": [(0.2768, 0.13), (0.4403, 0.03), (0.4202, 0.11), (0.3739, 0.04), (0.1586, 0.04)],
}  # the four columns, then Max SubOpt

PAPER_COSTS: dict[str, dict[str, dict[str, float]]] = {
    column: {method: {"mean": row[i][0], "std": row[i][1]} for method, row in _PAPER_TABLE.items()}
    for i, column in enumerate(PAPER_SCENARIOS)
}
"""Mean edit cost by column and method."""

PAPER_MAX_SUBOPT: dict[str, dict[str, float]] = {
    method: {"mean": row[-1][0], "std": row[-1][1]} for method, row in _PAPER_TABLE.items()
}
"""Max SubOpt by method."""


def match_paper_scenario(column: str) -> str | None:
    """The poster's column that one of ours answers to; None where there is none.

    It is that of the same task and user, whether the documents are PRELUDE's or made up: `email/strong` and
    `prelude-email/strong` both answer to `email/strong`.
    """
    asked = column.removeprefix("prelude-")
    return asked if asked in PAPER_SCENARIOS else None


def compute_paper_robustness() -> dict[str, float]:
    """An ensemble's Max SubOpt, divided by that of the best method of a single feedback; from the poster's means."""
    best = min(PAPER_MAX_SUBOPT[method]["mean"] for method in ("sft", "dpo"))
    return {method: PAPER_MAX_SUBOPT[method]["mean"] / best for method in ("early", "late")}
