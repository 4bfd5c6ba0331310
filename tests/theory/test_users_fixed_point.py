from math import exp

import numpy as np
import pytest

from copydesk.theory.lab import CONTEXTS, SPACE, LabSetting, find_fixed_points
from copydesk.theory.users import compute_expected_edit_cost, make_world, solve_fixed_point

DISTANCE = np.array([[0.0, 1.0], [1.0, 0.0]])
EDITS = np.array([[[5 / 6, 1 / 6], [1 / 2, 1 / 2]]])
"""In detailed balance with (3/4, 1/4)."""


def test_a_world_of_two_responses_by_hand() -> None:
    """q(b|a) = 1/6 and q(a|b) = 1/2 are the costs; π_ref ∝ (3 exp(1/6), exp(1/2)) for β = 1."""
    world = make_world(np.ones(1), np.array([[0.75, 0.25]]), 1.0, DISTANCE, lambda _: EDITS)
    assert world.problem.cost == pytest.approx(np.array([[1 / 6, 1 / 2]]))
    assert world.problem.reference[0, 0] / world.problem.reference[0, 1] == pytest.approx(3 * exp(1 / 6 - 1 / 2))
    assert world.problem.optimum == pytest.approx(np.array([[0.75, 0.25]]))
    assert world.residual < 1e-15
    reference = world.problem.reference[0]
    assert world.edited_distribution[0, 1] == pytest.approx(reference[0] / 6 + reference[1] / 2)


@pytest.mark.parametrize("attention", [0.4, 0.8, 1.0])
def test_the_iteration_finds_the_world_where_leaving_the_reference_is_expensive(attention: float) -> None:
    setting = LabSetting(attention, 1.0)
    problem = setting.world.problem
    found = solve_fixed_point(
        CONTEXTS,
        problem.reference,
        problem.beta,
        SPACE.distance,
        setting.edit_towards,
        start=np.zeros_like(problem.cost),
    )
    assert found.residual <= 1e-12
    assert found.problem.cost == pytest.approx(problem.cost, abs=1e-9)
    again = compute_expected_edit_cost(setting.edit_towards(found.problem.optimum), SPACE.distance)
    assert np.abs(again - found.problem.cost).max() == found.residual


def test_an_iteration_that_did_not_converge_reports_its_residual() -> None:
    setting = LabSetting(0.8, 3.0)
    problem = setting.world.problem
    found = solve_fixed_point(
        CONTEXTS,
        problem.reference,
        problem.beta,
        SPACE.distance,
        setting.edit_towards,
        start=np.zeros_like(problem.cost),
        most=5,
    )
    assert found.iterations == 5
    assert found.residual > 1e-6


def test_there_is_one_fixed_point_with_good_coverage_and_several_with_poor() -> None:
    one, several = find_fixed_points([LabSetting(1.0, 1.0)]), find_fixed_points([LabSetting(1.0, 6.0)])
    assert max(anchor.residual for anchor in one + several) <= 1e-12
    assert max(anchor.distance for anchor in one) < 1e-9
    assert several[0].distance < 1e-9
    assert several[1].start == "zero costs" and several[1].distance > 0.99
