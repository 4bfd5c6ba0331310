"""Rules that say which arm to play: pure functions from what is known of the arms to a distribution over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, log, sqrt
from typing import Protocol

from numpy.random import Generator

from copydesk.ensemble.state import ArmState


class Rule(Protocol):
    """What chooses an arm: a pure function, so that the same log always leads to the same choice.

    It returns a distribution rather than an arm, so that every choice has a propensity.
    """

    def __call__(self, arms: Sequence[ArmState], t: int, rng: Generator, /) -> Sequence[float]:
        """One probability per arm for round `t` (1 is the first), given the arms' states before it.

        `rng` is for rules that estimate their distribution by sampling.
        """
        ...


@dataclass(frozen=True)
class Ucb:
    """UCB for costs: play each arm once, in order, then argmin of C/N - alpha * sqrt(log t / N).

    Algorithm 1 of arXiv 2601.19055. Costs are minimised, so the bound is a lower one. The larger `alpha`, the more the
    rule explores; it is in the units of the cost (1.0 suits costs that mostly lie in [0, 1]). The choice is
    deterministic: one arm has probability 1, and of equally good arms it is the first.

    While edits are awaited, N counts every pull and the mean only the observed costs. A pending pull thus narrows the
    arm's width, and late feedback does not make the rule play one arm over and over. An arm none of whose pulls has a
    cost yet stands at the mean over all observed costs: neither good nor bad until its first edit comes. (If nothing
    was observed at all, every arm stands at 0 and the least played one is next.) With immediate feedback neither case
    arises and this is Algorithm 1 to the letter.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not (isfinite(self.alpha) and self.alpha >= 0):
            raise ValueError(f"alpha must be a finite number of at least 0, not {self.alpha}")

    def __call__(self, arms: Sequence[ArmState], t: int, rng: Generator, /) -> Sequence[float]:
        """Probability 1 on the arm to play in round `t`, 0 on the others."""
        observed = sum(arm.n for arm in arms)
        overall = sum(arm.cost_sum for arm in arms) / observed if observed else 0.0

        def bound(arm: ArmState) -> float:
            if not arm.pulls:
                return -inf
            mean = overall if arm.mean is None else arm.mean
            return mean - self.alpha * sqrt(log(t) / arm.pulls)

        bounds = [bound(arm) for arm in arms]
        best = bounds.index(min(bounds))
        return [float(index == best) for index in range(len(arms))]
