"""What the ensemble remembers of one arm.

The statistics of all arms among one group of rounds: everyone's, or one user's.
"""

from dataclasses import dataclass, field
from math import sqrt

Z_95 = 1.96
"""Standard errors of a 95% interval."""


@dataclass(frozen=True)
class ArmState:
    """Statistics of one arm. Sums, so that a log rebuilds them and two logs add up.

    `n` pulls have an observed cost, `pending` pulls still wait for their edit; `cost_sum` and `cost_sq_sum` are Σc and
    Σc² over the observed ones. Where older pulls weigh less, all four are sums of weights and no longer whole numbers.
    `name` is the arm's.
    """

    n: float = 0
    pending: float = 0
    cost_sum: float = 0.0
    cost_sq_sum: float = 0.0
    name: str = field(default="", compare=False)

    @property
    def pulls(self) -> float:
        """How often the arm was played, whether or not the edit has come."""
        return self.n + self.pending

    @property
    def mean(self) -> float | None:
        """Mean observed cost; None until there is one."""
        return self.cost_sum / self.n if self.n else None

    @property
    def std(self) -> float | None:
        """Standard deviation of the observed costs (that of a sample); None until there are two."""
        if self.n <= 1:
            return None
        spread = self.cost_sq_sum - self.cost_sum * self.cost_sum / self.n
        return float((max(spread, 0.0) / (self.n - 1)) ** 0.5)

    @property
    def interval(self) -> tuple[float, float] | None:
        """A 95% confidence interval of the mean, cut off at 0; None until there are two costs."""
        if self.mean is None or self.std is None:
            return None
        half = Z_95 * self.std / sqrt(self.n)
        return max(0.0, self.mean - half), self.mean + half

    def with_pull(self) -> "ArmState":
        """The state after one more pull, its edit awaited."""
        return self.plus(pending=1)

    def with_cost(self, cost: float) -> "ArmState":
        """The state after the cost of one pending pull has come."""
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
        """The state with so much more of each, times `weight`."""
        return ArmState(
            self.n + n * weight,
            self.pending + pending * weight,
            self.cost_sum + cost_sum * weight,
            self.cost_sq_sum + cost_sq_sum * weight,
            self.name,
        )

    def scale(self, factor: float) -> "ArmState":
        """The state of the same costs with every pull weighing `factor` times as much."""
        return ArmState(
            self.n * factor, self.pending * factor, self.cost_sum * factor, self.cost_sq_sum * factor, self.name
        )


_NEGLIGIBLE_WEIGHT = 1e-9  # a weight so small that rounding decides its sign


class ScopeStats:
    """Counts and sums per arm, and beside them the same with older rounds weighing less.

    With a `discount` γ below 1 a pull made in turn s weighs γ^(t - s) in turn t, its cost as well, whenever that comes
    (discounted UCB: Garivier and Moulines 2008, arXiv 0805.3415). With 1 both are the same.
    """

    def __init__(self, discount: float = 1.0) -> None:
        self.discount = discount
        self.turns = 0
        self._counts: dict[str, ArmState] = {}
        self._weighted: dict[str, ArmState] = {}

    def unweighted_state(self, arm: str) -> ArmState:
        """Every pull of the arm, all alike."""
        return self._counts.get(arm) or ArmState(name=arm)

    def weighted_state(self, arm: str) -> ArmState:
        """Every pull of the arm, weighed by its age."""
        if self.discount == 1:
            return self.unweighted_state(arm)
        state = self._weighted.get(arm) or ArmState(name=arm)
        return state if state.pulls > _NEGLIGIBLE_WEIGHT else ArmState(name=arm)

    def play(self, arm: str) -> int:
        """Count a pull, its edit awaited; returns its turn (1 is the first)."""
        self.skip()
        self._add(arm, self.turns, pending=1)
        return self.turns

    def skip(self) -> None:
        """Let a turn pass in which nothing is known to have been played."""
        self.turns += 1
        if self.discount != 1:
            self._weighted = {name: state.scale(self.discount) for name, state in self._weighted.items()}

    def observe(self, arm: str, turn: int, cost: float) -> None:
        """The cost of a pending pull has come."""
        self._add(arm, turn, n=1, pending=-1, cost_sum=cost, cost_sq_sum=cost * cost)

    def revise(self, arm: str, turn: int, old: float, new: float) -> None:
        """The cost of a pull turned out to be another."""
        self._add(arm, turn, cost_sum=new - old, cost_sq_sum=new * new - old * old)

    def withdraw(self, arm: str, turn: int) -> None:
        """A pending pull does not count after all."""
        self._add(arm, turn, pending=-1)

    def readmit(self, arm: str, turn: int) -> None:
        """A pull that was withdrawn is pending again."""
        self._add(arm, turn, pending=1)

    def set_discount(self, discount: float) -> None:
        """Go on with another discount: what was played so far weighs alike from here on."""
        self.discount = discount
        self._weighted = dict(self._counts)

    def _add(
        self, arm: str, turn: int, n: float = 0, pending: float = 0, cost_sum: float = 0.0, cost_sq_sum: float = 0.0
    ) -> None:
        more = {"n": n, "pending": pending, "cost_sum": cost_sum, "cost_sq_sum": cost_sq_sum}
        self._counts[arm] = self.unweighted_state(arm).plus(**more)
        if self.discount != 1:
            state = self._weighted.get(arm) or ArmState(name=arm)
            self._weighted[arm] = state.plus(**more, weight=self.discount ** (self.turns - turn))
