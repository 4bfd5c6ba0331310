"""Max SubOpt, robustness and regret of the methods of a run, and the figures of the paper to compare them with.

Source of the paper's figures: tables 1 and 2 of *Principled Fine-tuning of LLMs from User-Edits: A Medley of
Preference, Supervision, and Reward*, Misra, Pacchiano, Chi and Gao, NeurIPS 2025, arXiv 2601.19055, section 5. One
language model, Qwen 3 32B, plays both users: the strong one edits towards every preference, the weak one towards a
sample of them in each interaction, and neither errs. In table 1 everybody is met by the strong user, whoever made the
log; in table 2 by Llama 3.3 70B with the same preferences. Every figure is a mean and a spread over three seeds. There
is no row for RL.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, stdev
from typing import Any

from copydesk.report.columns import TableNumber
from copydesk.report.rounds import RoundRow, group_by_scenario, list_arms, list_methods
from copydesk.report.style import exclude_oracle, is_late


def summarize_spread(per_seed: Sequence[float]) -> dict[str, Any]:
    """Compute the mean over seeds and their sample standard deviation (0 for a single seed); keeps the figures."""
    return {
        "mean": fmean(per_seed),
        "std": stdev(per_seed) if len(per_seed) > 1 else 0.0,
        "per_seed": list(per_seed),
    }


SINGLE_FEEDBACK_METHODS = ("sft", "dpo", "rl")
"""The methods that learn from one kind of feedback."""
ENSEMBLE_METHODS = ("early", "late")

SeedCosts = Mapping[tuple[str, str], Mapping[int, float]]
"""The mean cost of a round by column and method, then by seed."""


def compute_largest_gaps(costs: SeedCosts, columns: Iterable[str]) -> dict[str, dict[int, float]]:
    """Compute each method's largest gap over some columns to the best method of the column, by seed.

    A method that did not play in all of the columns is left out, because a maximum over fewer columns is smaller. The
    oracle is not a method that one could choose, so it is never the best. The gap of a method that is cheaper than all
    others everywhere is 0.

    Args:
        costs: the mean costs of all columns.
        columns: those to take the maximum over.

    Returns:
        The gaps by method and seed.
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
    """Average the gaps of `compute_largest_gaps` over seeds."""
    return {method: summarize_spread([own[seed] for seed in sorted(own)]) for method, own in gaps.items()}


def compute_robustness(gaps: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, Any]]:
    """Compute each ensemble's Max SubOpt, divided by that of the best method of a single feedback.

    Below 1 the ensemble is the safer choice.

    Args:
        gaps: what `compute_largest_gaps` returns.

    Returns:
        The ratio per seed and its average, for each ensemble that played in the same seeds as at least one of those
        methods. Empty if the best of them is the best in every column: its Max SubOpt, the divisor, is 0 then.
    """
    ratios = {}
    for ensemble in ENSEMBLE_METHODS:
        own = gaps.get(ensemble, {})
        singles = [
            gaps[method] for method in SINGLE_FEEDBACK_METHODS if method in gaps and gaps[method].keys() == own.keys()
        ]
        best = {seed: min((single[seed] for single in singles), default=0.0) for seed in sorted(own)}
        if own and all(best.values()):
            ratios[ensemble] = summarize_spread([own[seed] / best[seed] for seed in best])
    return ratios


@dataclass(frozen=True)
class SeedRegret:
    """A late ensemble beside the best single arm in hindsight, in one seed.

    That arm is the policy whose total cost is lowest when it answers every round of the seed.

    Attributes:
        seed: the seed.
        best: the arm, by the method whose policy it is.
        late_costs: the ensemble's cost in each round.
        best_costs: that arm's cost in the same rounds.
    """

    seed: int
    best: str
    late_costs: Sequence[float]
    best_costs: Sequence[float]

    @property
    def total(self) -> float:
        """The total cost of the ensemble minus that of the arm; negative if switching between arms paid off."""
        return sum(self.late_costs) - sum(self.best_costs)

    @property
    def ratio(self) -> float | None:
        """The total cost of the ensemble divided by that of the arm; `None` if the arm costs nothing."""
        return sum(self.late_costs) / sum(self.best_costs) if sum(self.best_costs) else None

    @property
    def curve(self) -> list[float]:
        """The regret after each round."""
        return list(accumulate(late - best for late, best in zip(self.late_costs, self.best_costs, strict=True)))


def compute_regrets(rounds: Iterable[RoundRow], arms: Collection[str] | None = None) -> dict[str, list[SeedRegret]]:
    """Compute the regret of each late ensemble in one column.

    A policy counts as an arm if it also played alone in the same rounds of the same seed.

    Args:
        rounds: of the column.
        arms: the methods whose policies are the arms; by default those that the late ensembles of the column played.

    Returns:
        An entry for each seed, in ascending order, by ensemble. A seed without an arm, and an ensemble without such a
        seed, is left out.
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
    regrets: dict[str, list[SeedRegret]] = {}
    for late in filter(is_late, methods):
        for seed in sorted(seed for method, seed in costs if method == late):
            own = costs[late, seed]
            rivals = {arm: costs[arm, seed] for arm in alone if costs.get((arm, seed), {}).keys() == own.keys()}
            if rivals:
                best = min(rivals, key=lambda arm: sum(rivals[arm].values()))
                order = sorted(own)
                regret = SeedRegret(seed, best, [own[t] for t in order], [rivals[best][t] for t in order])
                regrets.setdefault(late, []).append(regret)
    return regrets


def summarize_regrets(rounds: Iterable[RoundRow]) -> dict[str, dict[str, dict[str, Any]]]:
    """Summarize the regrets by column and late ensemble, as `results.json` holds them.

    What the ensemble of any column played is an arm in every column, even if an ensemble that started from the others'
    rounds never tried it.

    Returns:
        For each column with a late ensemble and each ensemble: `regret`, in units of the cost, summed over the rounds
        of a seed; `ratio` of the two totals, left out if the best arm costs nothing in some seed; `best_total`, the
        total of the best arm; `best`, its name in each seed.
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


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper; every figure is a `mean` and a `std`.

    Attributes:
        costs: mean edit cost of a round by column, named as ours are, and method.
        max_subopt: Max SubOpt by method, over the table's four columns.
    """

    costs: Mapping[str, Mapping[str, Mapping[str, float]]]
    max_subopt: Mapping[str, Mapping[str, float]]

    @property
    def robustness(self) -> dict[str, float]:
        """Each ensemble's Max SubOpt, divided by that of the best method of a single feedback."""
        best = min(self.max_subopt[method]["mean"] for method in SINGLE_FEEDBACK_METHODS if method in self.max_subopt)
        return {method: self.max_subopt[method]["mean"] / best for method in ENSEMBLE_METHODS}


def _make_paper_table(columns: Sequence[str], rows: Mapping[str, Sequence[tuple[float, float]]]) -> PaperTable:
    """A table from the rows of its methods: a mean and a spread for each column, then for Max SubOpt."""
    cells = {method: [{"mean": mean, "std": std} for mean, std in row] for method, row in rows.items()}
    costs = {column: {method: row[i] for method, row in cells.items()} for i, column in enumerate(columns)}
    return PaperTable(costs, {method: row[-1] for method, row in cells.items()})


PAPER_TABLES: Mapping[TableNumber, PaperTable] = {
    1: _make_paper_table(
        ("summarization/strong", "summarization/weak-to-strong", "email/strong", "email/weak-to-strong"),
        {
            "base": [(0.9455, 0.01), (0.9445, 0.02), (0.5108, 0.03), (0.4923, 0.01), (0.7364, 0.10)],
            "sft": [(0.5377, 0.02), (0.9304, 0.19), (0.4159, 0.05), (0.4539, 0.03), (0.5772, 0.19)],
            "dpo": [(1.0790, 0.06), (0.8267, 0.06), (0.3365, 0.00), (0.3368, 0.01), (0.8698, 0.11)],
            "early": [(0.2092, 0.09), (0.3586, 0.01), (0.3438, 0.06), (0.4864, 0.01), (0.1612, 0.01)],
            "late": [(0.2768, 0.13), (0.4403, 0.03), (0.4202, 0.11), (0.3739, 0.04), (0.1586, 0.04)],
        },
    ),
    2: _make_paper_table(
        (
            *("summarization/strong-to-transfer", "summarization/weak-to-transfer"),
            *("email/strong-to-transfer", "email/weak-to-transfer"),
        ),
        {
            "base": [(0.8498, 0.01), (0.8558, 0.01), (0.4241, 0.01), (0.4239, 0.01), (0.6654, 0.01)],
            "sft": [(0.4890, 0.01), (0.7698, 0.01), (0.3377, 0.02), (0.3866, 0.01), (0.5121, 0.02)],
            "dpo": [(0.9650, 0.03), (0.7800, 0.02), (0.2955, 0.01), (0.3047, 0.02), (0.7805, 0.02)],
            "early": [(0.1845, 0.02), (0.2577, 0.02), (0.2406, 0.03), (0.4001, 0.03), (0.0955, 0.03)],
            "late": [(0.2509, 0.04), (0.3403, 0.01), (0.3123, 0.01), (0.3428, 0.03), (0.0862, 0.02)],
        },
    ),
}


def get_paper_costs(column: str) -> Mapping[str, Mapping[str, float]] | None:
    """The paper's costs by method in the column that one of ours stands for; `None` if it has no such column.

    The documents may be PRELUDE's or made up: `email/strong` and `prelude-email/strong` are both the paper's. The paper
    meets its weak user in no round, so `email/weak` is none of its columns.
    """
    name = column.removeprefix("prelude-")
    return next((table.costs[name] for table in PAPER_TABLES.values() if name in table.costs), None)
