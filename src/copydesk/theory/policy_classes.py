"""A finite class of cost functions and the policies that are the best for each: what the learners choose from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from copydesk.theory.fixed_point import World
from copydesk.theory.problem import gibbs
from copydesk.theory.space import Array


@dataclass(frozen=True)
class PolicyClass:
    """F and Π = {π_f ∝ π_ref exp(−f/β) : f ∈ F}. The first member is the truth: c, and so π*_β.

    Attributes:
        costs: F, (K, X, Y), within [0, 1].
        reference: π_ref, (X, Y).
        beta: β.
        scale: s, the β of DPO's loss. People whose edits are in detailed balance with π*_β prefer with s = 1,
            whatever the β of J_β (`docs/theory.md`, lemma 3).
    """

    costs: Array
    reference: Array
    beta: float
    scale: float = 1.0

    @property
    def size(self) -> int:
        """|Π|."""
        return len(self.costs)

    @cached_property
    def policies(self) -> Array:
        """Π, (K, X, Y)."""
        return gibbs(self.reference, self.costs, self.beta)

    @cached_property
    def log_policies(self) -> Array:
        """log π(y|x) of every member, (K, X, Y)."""
        return np.asarray(np.log(self.policies))

    @cached_property
    def margins(self) -> Array:
        """s log π/π_ref (y') − s log π/π_ref (y) of every member, (K, X, Y, Y')."""
        ratios = self.scale * (self.log_policies - np.log(self.reference))
        return np.asarray(ratios[..., None, :] - ratios[..., :, None])

    @cached_property
    def log_preferences(self) -> Array:
        """log σ of the margins, (K, X, Y, Y')."""
        return np.asarray(-np.logaddexp(0.0, -self.margins))


def build_policy_class(world: World, others: Array, largest: float = 1.0) -> PolicyClass:
    """The truth, milder and stronger forms of it, and steps from it towards other people's costs `others`, (J, X, Y).

    So there are policies between π_ref and π*, where SFT on a weak user's edits ends, and others near π*, which it
    takes many edits to tell from it. 10 + 3 J members, all within [0, `largest`], the largest cost there is.
    """
    cost = world.problem.cost
    milder = np.array([0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.125])[:, None, None] * cost
    towards = [(1 - share) * cost + share * others for share in (0.25, 0.5, 1.0)]
    costs = np.concatenate([cost[None], np.minimum(milder, largest), *towards])
    return PolicyClass(costs, world.problem.reference, world.problem.beta)
