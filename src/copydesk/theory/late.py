"""The late ensemble over policies of the lab, round by round, beside what any bandit could have had."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copydesk.ensemble import LateEnsemble, Ucb
from copydesk.theory.fixed_point import World
from copydesk.theory.space import Array


@dataclass(frozen=True)
class LabRounds:
    """What a late ensemble did.

    Attributes:
        arms: which policy was played in each round, (T,).
        suboptimality: SubOpt of each of the policies, (K,).
        spread: the length of the interval within which every loss lies.
    """

    arms: np.ndarray
    suboptimality: Array
    spread: float

    @property
    def mean(self) -> float:
        """SubOpt of the policy played, averaged over the rounds: Reg_T/T."""
        return float(self.suboptimality[self.arms].mean())

    @property
    def regret(self) -> Array:
        """What was lost up to each round to having played the best arm from the start, (T,), in units of cost."""
        return np.cumsum(self.suboptimality[self.arms] - self.suboptimality.min())


def play_lab_ensemble(
    world: World, policies: Sequence[Array], rounds: int, alpha: float, rng: np.random.Generator
) -> LabRounds:
    """Protocol 1's online phase with UCB over `policies`, each (X, Y).

    A round's loss is c + β log π(y|x)/π_ref(y|x), whose mean is J_β, so that Reg_T = Σ_t SubOpt(π_t) is what the bandit
    works on. Losses are shifted and divided by the length of the interval they can lie in; `alpha` is in that unit, and
    sqrt(2) is what the bound asks for.
    """
    problem = world.problem
    losses, lows, highs = [], [], []
    for policy in policies:
        joint = problem.contexts[:, None, None] * policy[:, :, None] * world.edits
        with np.errstate(divide="ignore"):
            leaving = problem.beta * (np.log(policy) - np.log(problem.reference))
        loss = world.distance + leaving[:, :, None]
        possible = joint > 0
        lows.append(float(loss[possible].min()))
        highs.append(float(loss[possible].max()))
        drawn = rng.choice(joint.size, size=rounds, p=joint.ravel() / joint.sum())
        losses.append(loss.ravel()[drawn])
    low = min(lows)
    spread = max(max(highs) - low, 1e-12)
    late = LateEnsemble([str(k) for k in range(len(policies))], rule=Ucb(alpha))
    arms = np.empty(rounds, dtype=np.int64)
    pulled = [0] * len(policies)
    for t in range(rounds):
        pull = late.choose()
        arm = int(pull.arm)
        late.update(pull, min(1.0, max(0.0, (losses[arm][pulled[arm]] - low) / spread)))
        pulled[arm] += 1
        arms[t] = arm
    return LabRounds(arms, np.array([problem.suboptimality(policy) for policy in policies]), spread)
