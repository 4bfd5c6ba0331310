"""Rules that say which arm to play: pure functions from what is known of the arms to a distribution over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, log, sqrt
from typing import Protocol

import numpy as np
from numpy.random import Generator

from copydesk.ensemble.arm_stats import ArmState


class Rule(Protocol):
    """What chooses an arm: a pure function, so that the same log always leads to the same choice.

    It returns a distribution rather than an arm, so that every choice has a propensity. A rule for users who change
    has a `discount` as well; the states it is given are then weighed by their age.
    """

    def __call__(self, arms: Sequence[ArmState], t: float, rng: Generator, /) -> Sequence[float]:
        """One probability per arm for round `t` (1 is the first), given the arms' states before it.

        `t` counts the pulls in the states and this one; where older pulls weigh less it is no whole number.
        `rng` is for rules that estimate their distribution by sampling.
        """
        ...


def get_discount(rule: Rule) -> float:
    """How much of its weight a pull keeps with each later one; 1 for a rule that forgets nothing."""
    return float(getattr(rule, "discount", 1.0))


def compute_overall_mean(arms: Sequence[ArmState]) -> float:
    """The mean over all observed costs, where an arm without any stands; 0 when nothing was observed at all."""
    observed = sum(arm.n for arm in arms)
    return sum(arm.cost_sum for arm in arms) / observed if observed else 0.0


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
        _check_alpha(self.alpha)

    def bounds(self, arms: Sequence[ArmState], t: float) -> list[float]:
        """The lower confidence bound of each arm in round `t`; -inf for one that was never played."""
        overall = compute_overall_mean(arms)

        def bound(arm: ArmState) -> float:
            if not arm.pulls:
                return -inf
            mean = overall if arm.mean is None else arm.mean
            return mean - self.alpha * sqrt(log(t) / arm.pulls)

        return [bound(arm) for arm in arms]

    def __call__(self, arms: Sequence[ArmState], t: float, rng: Generator, /) -> Sequence[float]:
        """Probability 1 on the arm to play in round `t`, 0 on the others."""
        bounds = self.bounds(arms, t)
        best = bounds.index(min(bounds))
        return [float(index == best) for index in range(len(arms))]


@dataclass(frozen=True)
class DiscountedUcb(Ucb):
    """UCB that forgets: with every pull all earlier ones lose 1 - `discount` of their weight.

    For users whose wishes change (Garivier and Moulines 2008, arXiv 0805.3415). About 1 / (1 - discount) pulls count
    at a time, 200 with the default, and an arm not played for long is tried again.
    """

    discount: float = 0.995

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount must be above 0 and at most 1, not {self.discount}")


@dataclass(frozen=True)
class Thompson:
    """Thompson sampling for costs: play each arm as often as it is likely to be the cheapest.

    The mean cost of an arm is believed to be normal: with one pseudo-pull at the mean over all arms, and a standard
    deviation of `alpha` for a single cost, its mean is (overall + Σc) / (1 + n) and its deviation
    alpha / sqrt(1 + N), N with the pending pulls, which narrow it as they do in `Ucb`. The distribution over arms is
    estimated with `draws` draws, and is then itself what the arm is drawn from: the propensity is exact.
    """

    alpha: float = 1.0
    draws: int = 2000

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, not {self.draws}")

    def __call__(self, arms: Sequence[ArmState], t: float, rng: Generator, /) -> Sequence[float]:
        """The share of draws from the beliefs in which each arm was the cheapest."""
        overall = compute_overall_mean(arms)
        means = np.array([(overall + arm.cost_sum) / (1 + arm.n) for arm in arms])
        deviations = np.array([self.alpha / sqrt(1 + arm.pulls) for arm in arms])
        drawn = means + deviations * rng.standard_normal((self.draws, len(arms)))
        wins = np.bincount(drawn.argmin(axis=1), minlength=len(arms))
        return [float(share) for share in wins / self.draws]


@dataclass(frozen=True)
class FixedShares:
    """Fixed shares, whatever the costs: an A/B test, or one policy alone.

    `shares` are relative, by the arms' names; an arm that is not named gets none. Without shares, or where no arm that
    can be played has one, all are played alike.
    """

    shares: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, share in self.shares.items():
            if not (isfinite(share) and share >= 0):
                raise ValueError(f"the share of {name} must be a finite number of at least 0, not {share}")

    def __call__(self, arms: Sequence[ArmState], t: float, rng: Generator, /) -> Sequence[float]:
        """Each arm's share of the sum."""
        given = [self.shares.get(arm.name, 0.0) for arm in arms]
        total = sum(given)
        return [share / total for share in given] if total else [1 / len(arms)] * len(arms)


def _check_alpha(alpha: float) -> None:
    if not (isfinite(alpha) and alpha >= 0):
        raise ValueError(f"alpha must be a finite number of at least 0, not {alpha}")
