"""The lab's worlds: one taste, met by users of any strength, and reference policies that cover it well or poorly.

What the iteration for costs that a user really causes comes to, from different beginnings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from copydesk.theory.bounds import BoundCoefficients, compute_coefficients
from copydesk.theory.policy_classes import PolicyClass, build_policy_class, largest_cost
from copydesk.theory.problem import Array, StringSpace, gibbs
from copydesk.theory.users import (
    MixingRate,
    World,
    compute_expected_edit_cost,
    compute_mixing_rate,
    edit_kernel,
    make_world,
    solve_fixed_point,
)

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


@dataclass(frozen=True)
class FixedPoint:
    """Where the costs settle for the reference policy of one setting.

    Attributes:
        strength, apart: the setting.
        start: the costs that the iteration began with, in words.
        residual: the largest |E_q Δ_edit − c| at the end.
        iterations: how many it took.
        distance: D between the π* found and the setting's own, which is a fixed point as well; within [0, 1].
    """

    strength: int
    apart: float
    start: str
    residual: float
    iterations: int
    distance: float


def find_fixed_points(settings: Sequence[LabSetting]) -> list[FixedPoint]:
    """From the setting's own costs, disturbed by up to 0.01; from no costs; and from the distance to what is wanted."""
    found = []
    for setting in settings:
        problem = setting.world.problem
        luck = np.random.default_rng(setting.strength).uniform(-0.01, 0.01, problem.cost.shape)
        wanted = SPACE.distance[[SPACE.responses.index(text) for text in IDEAL_RESPONSES]]
        starts = {
            "its own costs, disturbed": np.clip(problem.cost + luck, 0, 1),
            "no costs": np.zeros_like(problem.cost),
            "the distance to what is wanted": wanted,
        }
        for start, cost in starts.items():
            world = solve_fixed_point(
                CONTEXTS, problem.reference, problem.beta, SPACE.distance, SPACE.proposal, setting.strength, start=cost
            )
            apart = problem.distance(world.problem.optimum, setting.optimum)
            found.append(
                FixedPoint(setting.strength, setting.divergence, start, world.residual, world.iterations, apart)
            )
    return found
