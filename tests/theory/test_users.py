import numpy as np
import pytest

from copydesk.theory.lab import LabSetting
from copydesk.theory.policy_classes import chi_distance
from copydesk.theory.users import compute_mixing_rate, edit_kernel, metropolis_kernel

TARGET = np.array([[0.75, 0.25]])
PROPOSAL = np.array([[0.5, 0.5], [0.5, 0.5]])


def test_two_responses_by_hand() -> None:
    step = metropolis_kernel(TARGET, PROPOSAL)
    assert step == pytest.approx(np.array([[[5 / 6, 1 / 6], [1 / 2, 1 / 2]]]))
    assert edit_kernel(TARGET, PROPOSAL, 2)[0, 0, 1] == pytest.approx(5 / 6 * 1 / 6 + 1 / 6 * 1 / 2)


def test_the_gap_and_the_contraction_by_hand() -> None:
    """The other eigenvalue is 1 − 1/6 − 1/2 = 1/3; with two responses it is the contraction of a step as well."""
    found = compute_mixing_rate(TARGET, PROPOSAL, 2)
    assert found.gap == pytest.approx(2 / 3)
    assert found.left == pytest.approx(1 / 9)
    assert found.contraction == pytest.approx(1 / 9)


@pytest.mark.parametrize("strength", [1, 2, 7, 32])
@pytest.mark.parametrize("divergence", [1.0, 6.0])
def test_detailed_balance_with_the_optimum(strength: int, divergence: float) -> None:
    world = LabSetting(strength, divergence).world
    flow = world.problem.optimum[:, :, None] * world.edits
    assert np.abs(flow - np.swapaxes(flow, 1, 2)).max() < 1e-12
    assert np.abs(world.edits.sum(axis=2) - 1).max() < 1e-12


@pytest.mark.parametrize("strength", [1, 4, 16])
def test_edits_come_closer_at_least_as_fast_as_gap_and_contraction_say(strength: int) -> None:
    setting = LabSetting(strength, 4.0)
    problem, edited = setting.world.problem, setting.world.edited_distribution
    contexts, optimum = problem.contexts, problem.optimum
    before, after = (chi_distance(contexts, policy, optimum) for policy in (problem.reference, edited))
    assert 0 < after <= setting.mixing.left * before
    assert problem.distance(edited, optimum) <= setting.mixing.contraction * problem.distance(
        problem.reference, optimum
    )


def test_stronger_users_leave_less() -> None:
    left = [LabSetting(strength, 3.0).distance_left for strength in (1, 2, 4, 8, 16, 32)]
    assert left == sorted(left, reverse=True)
    assert left[0] > 0.5
    assert left[-1] < 0.02
