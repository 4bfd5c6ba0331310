"""The lab's settings: one optimal policy, users who attend to few or many preferences, good or poor coverage.

Also searches for fixed points of the cost equation from different starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from copydesk.theory.bounds import BoundCoefficients, compute_coefficients
from copydesk.theory.policy_classes import PolicyClass, build_policy_class, largest_cost
from copydesk.theory.problem import Array, PreferenceSpace, gibbs
from copydesk.theory.users import (
    UserQuality,
    World,
    attend_independently,
    attend_to_exactly,
    attention_kernel,
    compute_expected_edit_cost,
    make_world,
    measure_user_quality,
    solve_fixed_point,
)

SPACE = PreferenceSpace(5)
CONTEXTS = np.array([0.4, 0.3, 0.2, 0.1])
"""ρ: the last context is rare."""
IDEAL_RESPONSES = ("abbab", "bbaaa", "aabbb", "babaa")
"""The ideal response in each context, which meets every preference."""
OTHER_TASTES = 30
"""Number of other preferences in the policy class."""


@dataclass(frozen=True)
class LabSetting:
    """One world with its policy class and the coefficients of the bounds.

    Attributes:
        attention: p, the probability with which a user attends to each preference in an edit.
        divergence: distance of the reference policy from π*: the largest difference of log π*/π_ref between two
            responses to one context, in nats for each preference. 1 is good coverage, 6 is poor.
        exact: the user attends to exactly p K preferences in each edit, drawn uniformly, instead of each with
            probability p.
        sharpness: π*(y|x) ∝ exp(−sharpness · preferences that y misses): 4 means that a draw from π* meets each with
            probability 0.982, and all five with 0.913.
        seed: seed of the other preferences.
    """

    attention: float
    divergence: float
    exact: bool = False
    sharpness: float = 4.0
    seed: int = 0

    @cached_property
    def optimum(self) -> Array:
        """π*, (X, Y): the same for every user and coverage."""
        return self._gibbs_around(np.array([SPACE.responses.index(text) for text in IDEAL_RESPONSES]))

    @cached_property
    def world(self) -> World:
        """The world in which `optimum` is the optimum; β is chosen so that π_ref has the setting's divergence."""
        cost = compute_expected_edit_cost(self.edit_towards(self.optimum), SPACE.distance)
        beta = float(np.ptp(cost, axis=1).max()) / (SPACE.count * self.divergence)
        return make_world(CONTEXTS, self.optimum, beta, SPACE.distance, self.edit_towards)

    @cached_property
    def members(self) -> PolicyClass:
        """Π: 101 policies."""
        tastes = np.random.default_rng(self.seed).integers(len(SPACE.responses), size=(OTHER_TASTES, len(CONTEXTS)))
        edits = (self.edit_towards(self._gibbs_around(taste)) for taste in tastes)
        others = np.stack([compute_expected_edit_cost(each, SPACE.distance) for each in edits])
        return build_policy_class(self.world, others, largest_cost(self.world))

    @cached_property
    def coefficients(self) -> BoundCoefficients:
        """Coefficients of the bounds."""
        return compute_coefficients(self.world, self.members)

    @cached_property
    def quality(self) -> UserQuality:
        """How far one edit of this user leads towards π*, computed from the kernel."""
        return measure_user_quality(self.optimum, self.world.edits)

    @cached_property
    def distance_left(self) -> float:
        """D(μ, π*)/D(π_ref, π*), the share of the distance to π* that remains after one edit; 0 is best."""
        problem = self.world.problem
        return problem.distance(self.world.edited_distribution, self.optimum) / problem.distance(
            problem.reference, self.optimum
        )

    def edit_towards(self, optimum: Array) -> Array:
        """q(y'|x, y), (X, Y, Y'), of this user where π* is `optimum`, (X, Y)."""
        return attention_kernel(optimum, SPACE.agreement, self._weights)

    @cached_property
    def _weights(self) -> Array:
        if self.exact:
            return attend_to_exactly(SPACE, round(self.attention * SPACE.count))
        return attend_independently(SPACE, self.attention)

    def _gibbs_around(self, taste: np.ndarray) -> Array:
        missed = SPACE.distance[taste] * SPACE.count
        return gibbs(np.ones_like(missed), missed, 1 / self.sharpness)


@dataclass(frozen=True)
class FixedPoint:
    """Result of the cost iteration for the reference policy of one setting.

    Attributes:
        attention, divergence: those of the setting.
        start: description of the initial costs.
        residual: the largest |E_q Δ_edit − c| at the end.
        iterations: number of iterations.
        distance: D between the π* found and the setting's own, which is also a fixed point; within [0, 1].
    """

    attention: float
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
        noise = np.random.default_rng(round(1000 * setting.attention)).uniform(-0.01, 0.01, problem.cost.shape)
        ideal_distance = SPACE.distance[[SPACE.responses.index(text) for text in IDEAL_RESPONSES]]
        starts = {
            "its own costs, perturbed": np.clip(problem.cost + noise, 0, 1),
            "zero costs": np.zeros_like(problem.cost),
            "distance to the ideal response": ideal_distance,
        }
        for start, cost in starts.items():
            world = solve_fixed_point(
                CONTEXTS, problem.reference, problem.beta, SPACE.distance, setting.edit_towards, start=cost
            )
            distance = problem.distance(world.problem.optimum, setting.optimum)
            found.append(
                FixedPoint(setting.attention, setting.divergence, start, world.residual, world.iterations, distance)
            )
    return found
