"""The rules of the bandit: each maps the arms' statistics to a distribution over the arms.

`RULES` is the one place that lists them. A rule is a frozen pydantic model: its fields, with their ranges and
descriptions, become settings of `EnsembleConfig` and options of `copydesk serve`, and its label and note name it in
tables, plots and pages. A new rule is one class and one entry.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import inf, log, sqrt
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
from numpy.random import Generator
from pydantic import Field, field_validator

from copydesk.ensemble.arm_stats import ArmState
from copydesk.errors import InputError
from copydesk.utils.config import Config, Flag

ENSEMBLE_PANEL = "Ensemble (kept in the store; settings not given stay as they were)"


class ArmChooser(Protocol):
    """What an ensemble chooses with: a pure function, so that the same log always leads to the same choice.

    It returns a distribution rather than an arm, so that every choice has a propensity. If it has a `discount`, the
    states it gets are weighted by age.
    """

    def __call__(self, arms: Sequence[ArmState], t: float, rng: Generator, /) -> Sequence[float]:
        """One probability per arm for round `t` (1 is the first), given the arms' states before it.

        `t` counts the pulls in the states and this one; where older pulls weigh less it is not a whole number.
        `rng` is for rules that estimate their distribution by sampling.
        """
        ...


class Rule(Config):
    """Base class of the rules in `RULES`: an `ArmChooser` with settings and a name.

    At run time fields may also be passed by position, in their order: `Ucb(0.3)`. Rules whose fields share a name
    share the setting in an `EnsembleConfig`; a field with `exclude=True` is no setting there.

    Attributes:
        label: the name in tables and plots.
        note: completes "a late ensemble that ...".
        learns: whether costs influence the choice.
        is_random: whether several arms can have a positive probability in the same round, as off-policy evaluation
            needs it.
    """

    label: ClassVar[str]
    note: ClassVar[str]
    learns: ClassVar[bool] = True
    is_random: ClassVar[bool] = False

    def __init__(self, *values: Any, **named: Any) -> None:
        names = list(type(self).model_fields)
        if len(values) > len(names):
            raise TypeError(f"{type(self).__name__} takes at most {len(names)} values, not {len(values)}")
        super().__init__(**dict(zip(names, values, strict=False)), **named)

    @abstractmethod
    def __call__(self, arms: Sequence[ArmState], t: float, rng: Generator, /) -> Sequence[float]:
        """See `ArmChooser`."""

    @abstractmethod
    def describe(self) -> str:
        """A sentence for people: how the rule chooses, with its settings."""

    def compute_bounds(self, arms: Sequence[ArmState], t: float) -> list[float] | None:
        """The bound of each arm that the rule compares in round `t`; `None` for a rule that compares none."""
        return None


def get_discount(rule: ArmChooser) -> float:
    """The fraction of its weight that a pull keeps with each later one; 1 for a rule that does not forget."""
    return float(getattr(rule, "discount", 1.0))


def compute_overall_mean(arms: Sequence[ArmState]) -> float:
    """The mean over all observed costs, used for an arm without any; 0 if there are none at all."""
    observed = sum(arm.n for arm in arms)
    return sum(arm.cost_sum for arm in arms) / observed if observed else 0.0


Alpha = Annotated[
    float,
    Flag(panel=ENSEMBLE_PANEL),
    Field(ge=0, description="How much the rule explores, in units of the cost."),
]


class Ucb(Rule):
    """UCB for costs: play each arm once, in order, then argmin of C/N - alpha * sqrt(log t / N).

    Algorithm 1 of arXiv 2601.19055. Costs are minimised, so the bound is a lower one. The larger `alpha`, the more the
    rule explores; it is in the units of the cost (1.0 suits costs that mostly lie in [0, 1]). The choice is
    deterministic: one arm has probability 1, and of equally good arms it is the first.

    While edits are pending, N counts every pull and the mean only the observed costs. A pending pull thus narrows the
    arm's width, and late feedback does not make the rule play one arm over and over. An arm with pulls but no observed
    cost gets the mean over all observed costs: neither good nor bad until its first edit arrives. (Before any cost is
    observed every mean is 0, so the least played arm is next.) With immediate feedback neither case arises and this is
    Algorithm 1 to the letter.
    """

    label: ClassVar[str] = "UCB"
    note: ClassVar[str] = "plays the policy whose cost has the lowest confidence bound"

    alpha: Alpha = 1.0

    def compute_bounds(self, arms: Sequence[ArmState], t: float) -> list[float]:
        """The lower confidence bound of each arm in round `t`; -inf for one that was never played."""
        overall = compute_overall_mean(arms)

        def compute_bound(arm: ArmState) -> float:
            if not arm.pulls:
                return -inf
            mean = overall if arm.mean is None else arm.mean
            return mean - self.alpha * sqrt(log(t) / arm.pulls)

        return [compute_bound(arm) for arm in arms]

    def __call__(self, arms: Sequence[ArmState], t: float, rng: Generator, /) -> Sequence[float]:
        """Probability 1 on the arm to play in round `t`, 0 on the others."""
        bounds = self.compute_bounds(arms, t)
        best = bounds.index(min(bounds))
        return [float(index == best) for index in range(len(arms))]

    def describe(self) -> str:
        """See `Rule`."""
        return (
            f"UCB: the policy with the lowest lower confidence bound of its mean cost. Exploration α = {self.alpha:g}."
        )


class DiscountedUcb(Ucb):
    """UCB that forgets: with every pull all earlier ones lose 1 - `discount` of their weight.

    For users whose wishes change (Garivier and Moulines 2008, arXiv 0805.3415). About 1 / (1 - discount) pulls count
    at a time, 200 with the default, and an arm not played for long is tried again.
    """

    label: ClassVar[str] = "discounted UCB"
    note: ClassVar[str] = "forgets old rounds"

    discount: Annotated[
        float,
        Flag(panel=ENSEMBLE_PANEL),
        Field(gt=0, le=1, description="Weight that a pull keeps with each later one."),
    ] = 0.995

    def describe(self) -> str:
        """See `Rule`."""
        return (
            f"Discounted UCB, for users who change: each pull multiplies the weight of earlier ones by "
            f"{self.discount:g}. Exploration α = {self.alpha:g}."
        )


class Thompson(Rule):
    """Thompson sampling for costs: play each arm as often as it is likely to be the cheapest.

    The belief about an arm's mean cost is normal: with one pseudo-pull at the mean over all arms, and a standard
    deviation of `alpha` for a single cost, its mean is (overall + Σc) / (1 + n) and its deviation
    alpha / sqrt(1 + N), N with the pending pulls, which narrow it as they do in `Ucb`. The distribution over arms is
    estimated with `draws` draws, and the arm is drawn from this estimate: the propensity is exact.
    """

    label: ClassVar[str] = "Thompson"
    note: ClassVar[str] = "plays each policy as often as it may be the best"
    is_random: ClassVar[bool] = True

    alpha: Alpha = 1.0
    draws: Annotated[int, Field(ge=1, exclude=True, description="Draws that estimate the distribution.")] = 2000

    def __call__(self, arms: Sequence[ArmState], t: float, rng: Generator, /) -> Sequence[float]:
        """The share of draws from the beliefs in which each arm was the cheapest."""
        overall = compute_overall_mean(arms)
        means = np.array([(overall + arm.cost_sum) / (1 + arm.n) for arm in arms])
        deviations = np.array([self.alpha / sqrt(1 + arm.pulls) for arm in arms])
        drawn = means + deviations * rng.standard_normal((self.draws, len(arms)))
        wins = np.bincount(drawn.argmin(axis=1), minlength=len(arms))
        return [float(share) for share in wins / self.draws]

    def describe(self) -> str:
        """See `Rule`."""
        return (
            "Thompson sampling: each policy with the probability that it is the cheapest. Exploration "
            f"α = {self.alpha:g}."
        )


class FixedShares(Rule):
    """Fixed shares, whatever the costs: an A/B test, or one policy alone.

    `shares` are relative, by the arms' names; an arm that is not named gets none. Without shares, or if no arm that
    can be played has one, all are played equally.
    """

    label: ClassVar[str] = "fixed shares"
    note: ClassVar[str] = "plays each policy in a fixed share of the rounds"
    learns: ClassVar[bool] = False
    is_random: ClassVar[bool] = True

    shares: Annotated[
        Mapping[str, float],
        Flag("--share", default_text="equal shares", panel=ENSEMBLE_PANEL),
        Field(description="Relative share of an arm, as NAME=SHARE. Repeat for several arms."),
    ] = {}

    @field_validator("shares")
    @classmethod
    def _check_shares(cls, shares: Mapping[str, float]) -> Mapping[str, float]:
        for name, share in shares.items():
            if share < 0:
                raise InputError(f"--share {name}={share}: a share must be at least 0")
        return shares

    def __call__(self, arms: Sequence[ArmState], t: float, rng: Generator, /) -> Sequence[float]:
        """Each arm's share of the sum."""
        found = [self.shares.get(arm.name, 0.0) for arm in arms]
        total = sum(found)
        return [share / total for share in found] if total else [1 / len(arms)] * len(arms)

    def describe(self) -> str:
        """See `Rule`."""
        total = sum(self.shares.values())
        shares = ", ".join(f"{name} {share / total:.0%}" for name, share in self.shares.items() if share)
        return f"Fixed shares: {shares}." if shares else "Fixed shares: every policy equally often."


DEFAULT_RULE = "ucb"
"""The rule of Algorithm 1."""
RULES: dict[str, type[Rule]] = {
    DEFAULT_RULE: Ucb,
    "thompson": Thompson,
    "discounted-ucb": DiscountedUcb,
    "fixed": FixedShares,
}
"""Every rule by the name it has on the command line and in the log."""


def get_rule(name: str) -> type[Rule]:
    """The rule of that name.

    Raises:
        InputError: there is none.
    """
    if name not in RULES:
        raise InputError(f"--rule: {name!r} is not one of {', '.join(RULES)}")
    return RULES[name]


def list_late_methods() -> dict[str, str]:
    """The late ensembles that experiments compare: method name to rule name.

    `late` follows Algorithm 1; `late-NAME` follows another rule that learns from costs.
    """
    others = sorted(name for name, rule in RULES.items() if rule.learns and name != DEFAULT_RULE)
    return {"late": DEFAULT_RULE} | {f"late-{name}": name for name in others}
