"""What it costs a late ensemble to find out which of its policies is the best."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from copydesk.report.rounds import RoundRow, group_by_scenario, list_arms, list_methods
from copydesk.report.spread import summarize_spread
from copydesk.report.style import is_late


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
