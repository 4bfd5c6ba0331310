"""What the ensemble remembers of one arm."""

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
