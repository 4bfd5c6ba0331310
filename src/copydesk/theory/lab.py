"""The lab's settings: one preference, users of any strength, reference policies with good or poor coverage.

Also searches for fixed points of the cost equation from different starts.
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
"""ρ: the last context is rare."""
IDEAL_RESPONSES = ("abba", "bb", "aaab", "b")
"""The ideal response in each context."""
OTHER_TASTES = 30
"""Number of other preferences in the policy class."""


@dataclass(frozen=True)
class LabSetting:
    """One world with its policy class and the coefficients of the bounds.

    Attributes:
        strength: m, the number of local edits that a user tries.
        divergence: distance of the reference policy from π*: the largest difference of log π*/π_ref between two
            responses to one context, in nats. 1 is good coverage, 6 is poor.
        sharpness: π*(y|x) ∝ exp(−sharpness · local edits from y to the ideal response).
        seed: seed of the other preferences.
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
        """The world in which `optimum` is the optimum; β is chosen so that π_ref has the setting's divergence."""
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
        """Coefficients of the bounds."""
        return compute_coefficients(self.world, self.members)

    @cached_property
    def mixing(self) -> MixingRate:
        """How fast this user's edits converge to π*."""
        return compute_mixing_rate(self.optimum, SPACE.proposal, self.strength)

    @cached_property
    def distance_left(self) -> float:
        """Quality of edits: D(μ, π*)/D(π_ref, π*), the share of the distance that remains after one edit; 0 is best."""
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
    """Result of the cost iteration for the reference policy of one setting.

    Attributes:
        strength, divergence: those of the setting.
        start: description of the initial costs.
        residual: the largest |E_q Δ_edit − c| at the end.
        iterations: number of iterations.
        distance: D between the π* found and the setting's own, which is also a fixed point; within [0, 1].
    """

    strength: int
    divergence: float
    start: str
    residual: float
    iterations: int
    distance: float


def find_fixed_points(settings: Sequence[LabSetting]) -> list[FixedPoint]:
    """Solve for the costs of each setting from three starts.

    The starts are its own costs perturbed by up to 0.01, zero costs, and the edit distance to the ideal response.
    """
    found = []
    for setting in settings:
        problem = setting.world.problem
        noise = np.random.default_rng(setting.strength).uniform(-0.01, 0.01, problem.cost.shape)
        ideal_distance = SPACE.distance[[SPACE.responses.index(text) for text in IDEAL_RESPONSES]]
        starts = {
            "its own costs, perturbed": np.clip(problem.cost + noise, 0, 1),
            "zero costs": np.zeros_like(problem.cost),
            "distance to the ideal response": ideal_distance,
        }
        for start, cost in starts.items():
            world = solve_fixed_point(
                CONTEXTS, problem.reference, problem.beta, SPACE.distance, SPACE.proposal, setting.strength, start=cost
            )
            distance = problem.distance(world.problem.optimum, setting.optimum)
            found.append(
                FixedPoint(setting.strength, setting.divergence, start, world.residual, world.iterations, distance)
            )
    return found
