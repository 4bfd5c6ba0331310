"""Regret of our UCB when edits come late or never, beside the same rule without counting pending pulls.

    OMP_NUM_THREADS=1 python experiments/delayed_feedback/delayed_feedback.py

Four arms with mean costs of 0.30 to 0.70. A cost is 0 in three of ten rounds (the answer was accepted), else drawn from
a gamma distribution. With delay d the edit of round t comes after the choice of round t + d, and 30% of the edits never
come, whatever their arm and cost.

Ours is `LateEnsemble` with `Ucb`, whose N counts a pull from when it is made; a pull without an edit after 5 d + 50
rounds expires and counts no more. The naive rule is Algorithm 1 of arXiv 2601.19055 with C and N summed over the edits
that have come: it plays each arm once in the first rounds, then argmin C/N - alpha * sqrt(log t / N), where t is the
number of the round. An arm without an edit yet has an infinite width, so it is played; of equal arms the first is. When
every edit comes at once both are Algorithm 1: the row with delay 0 is there to show it.

A figure is the pseudo-regret, the sum over all rounds of (mean cost of the arm played - lowest mean cost): its mean
over seeds ± sample standard deviation. Both rules see the same costs and miss the same rounds' edits, so `saved`,
naive - ours, is paired by seed. About a minute. `--json` prints one document with the same figures; `--quick` is fewer
seeds and rounds.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from copydesk.ensemble import ArmState, EnsembleConfig, LateEnsemble, Rule, Ucb

MEANS = np.array([0.55, 0.30, 0.70, 0.42])
EDITED = 0.7  # of all answers; the others are accepted


@dataclass(frozen=True)
class Naive:
    """A rule that counts a pull when its edit arrives, not before."""

    rule: Rule

    def __call__(self, arms: Sequence[ArmState], t: float, rng: np.random.Generator, /) -> Sequence[float]:
        """Each arm once, then what the rule makes of the edits that have come."""
        if t <= len(arms):
            return [float(index == t - 1) for index in range(len(arms))]
        return self.rule([replace(arm, pending=0) for arm in arms], t, rng)


def draw(seed: int, rounds: int, never: float) -> tuple[np.ndarray, np.ndarray]:
    """What each arm would cost in each round (rounds x arms), and whether the round's edit ever comes."""
    rng = np.random.default_rng(seed)
    costs = rng.gamma(4.0, MEANS / (4 * EDITED), size=(rounds, len(MEANS)))
    return costs * (rng.random(costs.shape) < EDITED), rng.random(rounds) >= never


def play(ensemble: LateEnsemble, costs: np.ndarray, comes: np.ndarray, delay: int) -> list[int]:
    """The arms an ensemble chooses."""
    pulls = []
    for now in range(len(costs)):
        pulls.append(ensemble.choose(at=now))
        edited = now - delay
        if edited >= 0 and comes[edited]:
            ensemble.update(pulls[edited], costs[edited, int(pulls[edited].arm)])
    return [int(pull.arm) for pull in pulls]


def regrets(seed: int, rounds: int, delay: int, never: float, alpha: float) -> tuple[float, float]:
    """The pseudo-regret of the naive rule and of ours."""
    costs, comes = draw(seed, rounds, never)
    arms = [str(arm) for arm in range(len(MEANS))]
    naive = LateEnsemble(arms, Naive(Ucb(alpha=alpha)))
    ours = LateEnsemble(arms, Ucb(alpha=alpha), expiry=5 * delay + 50)
    gaps = MEANS - MEANS.min()
    naive_regret, our_regret = (float(gaps[play(one, costs, comes, delay)].sum()) for one in (naive, ours))
    return naive_regret, our_regret


def row(seeds: int, rounds: int, delay: int, never: float, alpha: float) -> dict[str, Any]:
    """Both regrets over seeds, and their difference."""
    found = [regrets(seed, rounds, delay, never, alpha) for seed in range(seeds)]
    columns = {
        "naive": [naive for naive, _ in found],
        "ours": [ours for _, ours in found],
        "saved": [naive - ours for naive, ours in found],
    }
    means = {name: fmean(values) for name, values in columns.items()}
    return {"delay": delay, "never": never, **means, **{f"{name}_std": stdev(v) for name, v in columns.items()}}


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delays", nargs="+", type=int, default=[1, 20, 100], help="in rounds")
    parser.add_argument("--never", type=float, default=0.3, help="share of edits that never come")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=40, help="at least 2")
    parser.add_argument("--alpha", type=float, default=EnsembleConfig().make_rule().alpha)
    parser.add_argument("--quick", action="store_true", help="8 seeds, 1000 rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    if parser.parse_args(argv).quick:
        parser.set_defaults(seeds=8, rounds=1000)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    cases = [(0, 0.0), *((delay, args.never) for delay in args.delays)]
    rows = [row(args.seeds, args.rounds, delay, never, args.alpha) for delay, never in cases]
    if args.json:
        settings = {"rounds": args.rounds, "seeds": args.seeds, "alpha": args.alpha, "means": MEANS.tolist()}
        print(json.dumps({"rows": rows, "settings": settings}, indent=2))
        return
    title = f"Regret over {args.rounds} rounds, mean ± std over {args.seeds} seeds"
    table = Table(title=title, title_justify="left", box=None)
    for name in ("delay", "never", "naive", "ours", "saved"):
        table.add_column(name, justify="right")
    for one in rows:
        figures = (f"{one[name]:.1f} ± {one[f'{name}_std']:.1f}" for name in ("naive", "ours", "saved"))
        table.add_row(f"{one['delay']}", f"{one['never']:.0%}", *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
