"""What the iteration for costs that a user really causes comes to, from different beginnings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copydesk.theory.fixed_point import solve_fixed_point
from copydesk.theory.lab import CONTEXTS, IDEAL_RESPONSES, SPACE, LabSetting


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
