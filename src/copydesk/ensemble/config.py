"""What an ensemble that lives in a store follows."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, Literal, get_args

from copydesk.ensemble.rules import DiscountedUcb, FixedShares, Rule, Thompson, Ucb
from copydesk.errors import InputError

RuleName = Literal["ucb", "thompson", "discounted-ucb", "fixed"]
EnsembleScope = Literal["global", "user", "group"]


@dataclass(frozen=True)
class EnsembleConfig:
    """What an ensemble follows; every change is an event of the log.

    Attributes:
        rule: how it chooses.
        alpha: how much `ucb`, `discounted-ucb` and `thompson` explore, in the units of the cost. The default is √2
            times 0.3, a usual standard deviation of edit costs.
        discount: the weight an earlier pull keeps with each later one, for `discounted-ucb`.
        shares: of each arm, for `fixed`; without any all are played alike.
        scope: whether everyone's statistics decide, each user's, or those of the user's group (for a user in none,
            everyone's).
        prior: with users or groups, at most how many pulls of the others count for an arm that one knows little of.
        expiry: seconds after which an edit is no longer awaited; `None` for ever.
        seed: decides what is random.
        metric: the name of the edit cost; costs of another are not comparable.
        cost: the settings of that `EditCost`, for who computes further ones.
    """

    rule: RuleName = "ucb"
    alpha: float = 0.42
    discount: float = 0.995
    shares: Mapping[str, float] = field(default_factory=dict)
    scope: EnsembleScope = "global"
    prior: float = 10.0
    expiry: float | None = 7 * 24 * 3600.0
    seed: int = 0
    metric: str = ""
    cost: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, choices in (("rule", get_args(RuleName)), ("scope", get_args(EnsembleScope))):
            if getattr(self, name) not in choices:
                raise InputError(f"--{name} {getattr(self, name)}: choose one of {', '.join(choices)}")
        if not (isfinite(self.prior) and self.prior >= 0):
            raise InputError(f"--prior {self.prior}: give a number of at least 0")
        if self.expiry is not None and not (isfinite(self.expiry) and self.expiry > 0):
            raise InputError(f"--expiry {self.expiry}: give a number of seconds above 0")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: must be at least 0")
        try:
            self.make_rule()
        except ValueError as exc:
            raise InputError(f"the ensemble's {exc}") from None

    def make_rule(self) -> Rule:
        """The rule these settings name.

        Raises:
            ValueError: a setting of it is out of range.
        """
        match self.rule:
            case "ucb":
                return Ucb(self.alpha)
            case "thompson":
                return Thompson(self.alpha)
            case "discounted-ucb":
                return DiscountedUcb(self.alpha, self.discount)
            case "fixed":
                return FixedShares(self.shares)

    def to_json(self) -> dict[str, Any]:
        """All settings as JSON values."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return values | {"shares": dict(self.shares), "cost": dict(self.cost)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EnsembleConfig":
        """The settings of a log; what a newer Copydesk wrote beside them is left out."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})
