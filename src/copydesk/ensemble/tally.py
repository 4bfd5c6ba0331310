"""The statistics of all arms among one group of rounds: everyone's, or one user's."""

from copydesk.ensemble.arm_stats import ArmState

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
