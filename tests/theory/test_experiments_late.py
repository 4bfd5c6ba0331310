from math import sqrt

import numpy as np
import pytest

from copydesk.theory.bounds import late_bound
from copydesk.theory.experiments import measure_regret, play_lab_ensemble
from copydesk.theory.lab import LabSetting


def test_it_finds_the_best_policy_and_regret_is_the_loss_of_the_others() -> None:
    setting = LabSetting(1.0, 6.0)
    problem = setting.world.problem
    policies = [problem.reference, problem.optimum]
    played = play_lab_ensemble(setting.world, policies, 400, 0.3, np.random.default_rng(0))
    assert played.suboptimality == pytest.approx([problem.suboptimality(problem.reference), 0])
    times = int((played.arms == 0).sum())
    assert 1 <= times < 100
    assert played.regret[-1] == pytest.approx(times * played.suboptimality[0])
    assert played.mean == pytest.approx(played.regret[-1] / 400)


def test_losses_average_to_the_objective() -> None:
    """With one arm the ensemble's own estimate of its cost is J_β, once the unit is undone."""
    setting = LabSetting(0.8, 3.0)
    problem = setting.world.problem
    rng = np.random.default_rng(0)
    policy = setting.members.policies[50]
    joint = problem.contexts[:, None, None] * policy[:, :, None] * setting.world.edits
    loss = setting.world.distance + problem.beta * np.log(policy / problem.reference)[:, :, None]
    assert (joint * loss).sum() == pytest.approx(problem.objective(policy))
    played = play_lab_ensemble(setting.world, [policy], 10, 0.3, rng)
    assert played.spread == pytest.approx(np.ptp(loss[joint > 0]))
    assert (played.regret == 0).all()


def test_regret_stays_below_its_bound_and_is_measured_for_both_alphas() -> None:
    found = measure_regret(LabSetting(0.4, 6.0), 200, 3, seed=0)
    assert set(found.measured) == {"√2", "0.3"}
    for rows in found.measured.values():
        assert rows.shape == (3, 200)
        assert (np.diff(rows, axis=1) >= 0).all()
        assert rows[:, -1].mean() > 0
    assert (found.measured["√2"].mean(axis=0) <= found.bound).all()
    assert found.bound[-1] == late_bound(200, 4, found.bound[-1] / late_bound(200, 4, 1.0).value).value
    assert sqrt(2) == pytest.approx(1.4142, abs=1e-4)
