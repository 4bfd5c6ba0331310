"""Statistics of the arms: counts and sums of costs, per scope, optionally discounted by age."""

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from math import sqrt

Z_95 = 1.96
"""Standard errors of a 95% interval."""


@dataclass(frozen=True)
class ArmState:
    """Statistics of one arm, as sums, so that they can be rebuilt from a log and added.

    `n` pulls have an observed cost, `pending` pulls still wait for their edit; `cost_sum` and `cost_sq_sum` are Σc and
    Σc² over the observed ones. With discounted pulls all four are weighted sums and not whole numbers.
    """

    n: float = 0
    pending: float = 0
    cost_sum: float = 0.0
    cost_sq_sum: float = 0.0
    name: str = field(default="", compare=False)

    @property
    def pulls(self) -> float:
        """The number of pulls, observed or pending."""
        return self.n + self.pending

    @property
    def mean(self) -> float | None:
        """Mean observed cost; `None` without any."""
        return self.cost_sum / self.n if self.n else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation of the observed costs; `None` with fewer than two."""
        if self.n <= 1:
            return None
        spread = self.cost_sq_sum - self.cost_sum * self.cost_sum / self.n
        return float((max(spread, 0.0) / (self.n - 1)) ** 0.5)

    @property
    def interval(self) -> tuple[float, float] | None:
        """A 95% confidence interval of the mean, cut off at 0; `None` with fewer than two costs."""
        if self.mean is None or self.std is None:
            return None
        half = Z_95 * self.std / sqrt(self.n)
        return max(0.0, self.mean - half), self.mean + half

    def with_pull(self) -> "ArmState":
        """The state after one more pull, which is pending."""
        return self.plus(pending=1)

    def with_cost(self, cost: float) -> "ArmState":
        """The state after the cost of a pending pull was observed."""
        return self.plus(n=1, pending=-1, cost_sum=cost, cost_sq_sum=cost * cost)

    def plus(
        self,
        *,
        n: float = 0,
        pending: float = 0,
        cost_sum: float = 0.0,
        cost_sq_sum: float = 0.0,
        weight: float = 1,
    ) -> "ArmState":
        """The state with these amounts added, times `weight`."""
        return ArmState(
            self.n + n * weight,
            self.pending + pending * weight,
            self.cost_sum + cost_sum * weight,
            self.cost_sq_sum + cost_sq_sum * weight,
            self.name,
        )

    def scale(self, factor: float) -> "ArmState":
        """The state with every pull weighted by `factor`."""
        return ArmState(
            self.n * factor, self.pending * factor, self.cost_sum * factor, self.cost_sq_sum * factor, self.name
        )


_NEGLIGIBLE_WEIGHT = 1e-9  # below it, rounding decides the sign


class ScopeStats:
    """Statistics of all arms within one scope (everyone's, a user's or a group's), plain and discounted.

    With a `discount` γ below 1 a pull of turn s, and its cost whenever that is observed, has weight γ^(t - s) in turn t
    (discounted UCB: Garivier and Moulines 2008, arXiv 0805.3415), where turns that do not age others are not counted in
    t - s. With 1 both are the same.
    """

    def __init__(self, discount: float = 1.0) -> None:
        self.discount = discount
        self.turns = 0
        self._ageless_turns = array("q")
        self._counts: dict[str, ArmState] = {}
        self._weighted: dict[str, ArmState] = {}

    def unweighted_state(self, arm: str) -> ArmState:
        """The state of the arm with all pulls weighted equally."""
        return self._counts.get(arm) or ArmState(name=arm)

    def weighted_state(self, arm: str) -> ArmState:
        """The state of the arm with pulls discounted by age."""
        if self.discount == 1:
            return self.unweighted_state(arm)
        state = self._weighted.get(arm) or ArmState(name=arm)
        return state if state.pulls > _NEGLIGIBLE_WEIGHT else ArmState(name=arm)

    def play(self, arm: str) -> int:
        """Count a pending pull and return its turn (1 is the first)."""
        self.skip()
        self._add(arm, self.turns, pending=1)
        return self.turns

    def skip(self, *, ages: bool = True) -> None:
        """Advance by a turn without a known pull; unless it `ages` them, earlier pulls keep their weight."""
        self.turns += 1
        if self.discount == 1:
            return
        if not ages:
            self._ageless_turns.append(self.turns)
        else:
            self._weighted = {name: state.scale(self.discount) for name, state in self._weighted.items()}

    def observe(self, arm: str, turn: int, cost: float) -> None:
        """Record the cost of a pending pull."""
        self._add(arm, turn, n=1, pending=-1, cost_sum=cost, cost_sq_sum=cost * cost)

    def revise(self, arm: str, turn: int, old: float, new: float) -> None:
        """Replace the cost of a pull."""
        self._add(arm, turn, cost_sum=new - old, cost_sq_sum=new * new - old * old)

    def withdraw(self, arm: str, turn: int) -> None:
        """Remove a pending pull."""
        self._add(arm, turn, pending=-1)

    def readmit(self, arm: str, turn: int) -> None:
        """Make a withdrawn pull pending again."""
        self._add(arm, turn, pending=1)

    def set_discount(self, discount: float) -> None:
        """Change the discount; earlier pulls start again with equal weights."""
        self.discount = discount
        self._weighted = dict(self._counts)

    def _add(
        self, arm: str, turn: int, n: float = 0, pending: float = 0, cost_sum: float = 0.0, cost_sq_sum: float = 0.0
    ) -> None:
        more = {"n": n, "pending": pending, "cost_sum": cost_sum, "cost_sq_sum": cost_sq_sum}
        self._counts[arm] = self.unweighted_state(arm).plus(**more)
        if self.discount != 1:
            state = self._weighted.get(arm) or ArmState(name=arm)
            self._weighted[arm] = state.plus(**more, weight=self.discount ** self._get_age(turn))

    def _get_age(self, turn: int) -> int:
        ageless = self._ageless_turns
        return self.turns - turn - (len(ageless) - bisect_right(ageless, turn))
