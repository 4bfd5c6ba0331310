"""What the ensemble remembers of one arm."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ArmState:
    """Statistics of one arm. Sums, so that a log rebuilds them and two logs add up.

    `n` pulls have an observed cost, `pending` pulls still wait for their edit; `cost_sum` and `cost_sq_sum` are Σc and
    Σc² over the observed ones.
    """

    n: int = 0
    pending: int = 0
    cost_sum: float = 0.0
    cost_sq_sum: float = 0.0

    @property
    def pulls(self) -> int:
        """How often the arm was played, whether or not the edit has come."""
        return self.n + self.pending

    @property
    def mean(self) -> float | None:
        """Mean observed cost; None until there is one."""
        return self.cost_sum / self.n if self.n else None

    def played(self) -> "ArmState":
        """The state after one more pull, its edit awaited."""
        return ArmState(self.n, self.pending + 1, self.cost_sum, self.cost_sq_sum)

    def observed(self, cost: float) -> "ArmState":
        """The state after the cost of one pending pull has come."""
        return ArmState(self.n + 1, self.pending - 1, self.cost_sum + cost, self.cost_sq_sum + cost * cost)
