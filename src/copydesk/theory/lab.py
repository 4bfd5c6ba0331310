"""The lab's worlds: one taste, met by users of any strength, and reference policies that cover it well or poorly."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from copydesk.theory.bounds import BoundCoefficients, compute_coefficients
from copydesk.theory.coverage import largest_cost
from copydesk.theory.fixed_point import World, compute_expected_edit_cost, make_world
from copydesk.theory.policy_classes import PolicyClass, build_policy_class
from copydesk.theory.problem import gibbs
from copydesk.theory.space import Array, StringSpace
from copydesk.theory.users import MixingRate, compute_mixing_rate, edit_kernel

SPACE = StringSpace("ab", 4)
CONTEXTS = np.array([0.4, 0.3, 0.2, 0.1])
"""ρ: the learner sees little of the last context."""
IDEAL_RESPONSES = ("abba", "bb", "aaab", "b")
"""What people would most like to read in each context."""
OTHER_TASTES = 30
"""How many other tastes the class of policies knows of."""


@dataclass(frozen=True)
class LabSetting:
    """One world, what the learners choose from in it, and what the bounds need to know of it.

    Attributes:
        strength: m, the local edits that a user tries.
        divergence: how far the reference policy is from what people want: the largest difference of log π*/π_ref
            between two responses to one context, in nats. 1 is good coverage, 6 poor.
        sharpness: π*(y|x) ∝ exp(−sharpness · local edits from y to what is wanted).
        seed: decides the other tastes.
    """

    strength: int
    divergence: float
    sharpness: float = 1.0
    seed: int = 0

    @cached_property
    def optimum(self) -> Array:
        """π*, (X, Y): the same for every strength and coverage."""
        return self._gibbs_around(np.array([SPACE.responses.index(text) for text in IDEAL_RESPONSES]))

    @cached_property
    def world(self) -> World:
        """The world in which it is the optimum; β is what puts π_ref that far from it."""
        cost = self._expected_edit_cost(self.optimum)
        beta = float(np.ptp(cost, axis=1).max()) / self.divergence
        return make_world(CONTEXTS, self.optimum, beta, SPACE.distance, SPACE.proposal, self.strength)

    @cached_property
    def members(self) -> PolicyClass:
        """Π: 100 policies."""
        tastes = np.random.default_rng(self.seed).integers(len(SPACE.responses), size=(OTHER_TASTES, len(CONTEXTS)))
        others = np.stack([self._expected_edit_cost(self._gibbs_around(taste)) for taste in tastes])
        return build_policy_class(self.world, others, largest_cost(self.world))

    @cached_property
    def coefficients(self) -> BoundCoefficients:
        """What the bounds are made of."""
        return compute_coefficients(self.world, self.members)

    @cached_property
    def mixing(self) -> MixingRate:
        """How fast this user's edits lead to π*."""
        return compute_mixing_rate(self.optimum, SPACE.proposal, self.strength)

    @cached_property
    def distance_left(self) -> float:
        """The quality of edits: the share of D(π_ref, π*) that one edit leaves, D(μ, π*)/D(π_ref, π*); 0 is perfect."""
        problem = self.world.problem
        return problem.distance(self.world.edited_distribution, self.optimum) / problem.distance(
            problem.reference, self.optimum
        )

    def _gibbs_around(self, taste: np.ndarray) -> Array:
        steps = SPACE.distance[taste] * SPACE.longest
        return gibbs(np.ones_like(steps), steps, 1 / self.sharpness)

    def _expected_edit_cost(self, optimum: Array) -> Array:
        return compute_expected_edit_cost(edit_kernel(optimum, SPACE.proposal, self.strength), SPACE.distance)
