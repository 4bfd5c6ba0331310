"""The late ensemble of arXiv 2601.19055: policies trained on one log, chosen between online."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isclose, isfinite

import numpy as np

from copydesk.ensemble.rules import Rule, Ucb
from copydesk.ensemble.state import ArmState
from copydesk.errors import InputError


@dataclass(frozen=True)
class Pull:
    """One choice: the round it was made in (`id`, from 1), the arm, and the probability it was chosen with."""

    id: int
    arm: str
    propensity: float


class LateEnsemble:
    """Chooses a policy for each round and learns from the cost of the edit, whenever that comes.

    `choose` gives a `Pull`; `update` reports its cost, at once or many rounds later and in any order. The choice in
    round t depends on nothing but the arms' states, t and the seed, so `replay` continues exactly where a log ended.
    Not safe to share between threads without a lock.
    """

    def __init__(self, arms: Sequence[str], rule: Rule | None = None, seed: int = 0) -> None:
        """An ensemble of the named arms, in the order they are tried. `rule` is `Ucb()` unless given.

        Raises ValueError when there are no arms or two have the same name.
        """
        if isinstance(arms, str) or not arms:
            raise ValueError("an ensemble needs a list of at least one arm")
        repeated = sorted({arm for arm in arms if list(arms).count(arm) > 1})
        if repeated:
            raise ValueError(f"arms must have different names; given more than once: {', '.join(repeated)}")
        self.rule: Rule = Ucb() if rule is None else rule
        self.seed = seed
        self._arms = {arm: ArmState() for arm in arms}
        self._rounds = 0
        self._awaited: dict[int, str] = {}

    @property
    def arms(self) -> dict[str, ArmState]:
        """The arms' statistics, by name and in order (a copy)."""
        return dict(self._arms)

    @property
    def rounds(self) -> int:
        """How many pulls were made, those included whose edit is awaited."""
        return self._rounds

    @property
    def awaited(self) -> dict[int, str]:
        """The pulls that have no cost yet: id to arm (a copy)."""
        return dict(self._awaited)

    def choose(self) -> Pull:
        """Choose the arm of the next round t (= pulls so far + 1) and count it as played.

        Raises ValueError when the rule returns something that is no distribution over the arms.
        """
        t = self._rounds + 1
        # A generator of its own for each round: a choice can be made again from a log without replaying the others.
        rng = np.random.default_rng([self.seed, t])
        probabilities = [float(p) for p in self.rule(list(self._arms.values()), t, rng)]
        if len(probabilities) != len(self._arms) or min(probabilities) < 0 or not isclose(sum(probabilities), 1.0):
            raise ValueError(f"the rule gave {probabilities}, no distribution over {len(self._arms)} arms")
        index = int(rng.choice(len(probabilities), p=probabilities))
        arm = list(self._arms)[index]
        self._play(arm)
        return Pull(id=t, arm=arm, propensity=probabilities[index])

    def update(self, pull: Pull, cost: float) -> None:
        """Report the edit cost of a pull.

        Raises ValueError when the pull was not made by this ensemble, already has a cost, or when the cost is no
        finite number of at least 0. A refused update changes nothing.
        """
        arm = self._awaited.get(pull.id)
        if arm is None and 1 <= pull.id <= self._rounds:
            raise ValueError(f"pull {pull.id} already has its cost; each pull is updated once")
        if arm is None or arm != pull.arm:
            raise ValueError(f"pull {pull.id} of arm {pull.arm!r} was not made by this ensemble")
        if not (isfinite(cost) and cost >= 0):
            raise ValueError(f"the cost of pull {pull.id} must be a finite number of at least 0, not {cost}")
        self._observe(pull.id, float(cost))

    @classmethod
    def replay(
        cls,
        arms: Sequence[str],
        history: Iterable[tuple[str, float | None]],
        rule: Rule | None = None,
        seed: int = 0,
    ) -> "LateEnsemble":
        """The ensemble as it stands after a log: (arm, cost) of each round in order, cost None where awaited.

        Round i of the history is the pull with id i (from 1), so edits that come later still find theirs.
        Raises InputError when the log names an unknown arm or holds a cost that is no finite number of at least 0.
        """
        ensemble = cls(arms, rule, seed)
        for t, (arm, cost) in enumerate(history, start=1):
            if arm not in ensemble._arms:
                raise InputError(f"round {t} of the history: unknown arm {arm!r}; the arms are {', '.join(arms)}")
            ensemble._play(arm)
            if cost is None:
                continue
            if not (isfinite(cost) and cost >= 0):
                raise InputError(f"round {t} of the history: cost {cost} must be a finite number of at least 0")
            ensemble._observe(t, float(cost))
        return ensemble

    def _play(self, arm: str) -> None:
        self._rounds += 1
        self._awaited[self._rounds] = arm
        self._arms[arm] = self._arms[arm].played()

    def _observe(self, pull_id: int, cost: float) -> None:
        arm = self._awaited.pop(pull_id)
        self._arms[arm] = self._arms[arm].observed(cost)
