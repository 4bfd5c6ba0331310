import numpy as np
import pytest
from tests.support.lab_logs import expected_log

from copydesk.theory.lab import LabSetting
from copydesk.theory.learners import LabLog, draw_lab_log, fit_cost_table, fit_table

DISTANCE = np.array([[0.0, 1.0], [1.0, 0.0]])


def log_of(counts: list[list[int]]) -> LabLog:
    return LabLog(np.array([counts], dtype=np.int64), DISTANCE)


def test_sft_is_the_share_of_each_edit() -> None:
    table = fit_table(np.array([[0.9, 0.1]]), log_of([[2, 1], [1, 0]]), preference=0, supervision=1, ridge=1e-9)
    assert table == pytest.approx(np.array([[0.75, 0.25]]), abs=1e-6)


def test_dpo_is_the_odds_of_each_rewrite_times_the_reference() -> None:
    """b became a three times, a became b once: the odds are 3, the reference's own 9; rows that stayed say nothing."""
    table = fit_table(np.array([[0.9, 0.1]]), log_of([[5, 1], [3, 7]]), preference=1, supervision=0, ridge=1e-9)
    assert table[0, 0] / table[0, 1] == pytest.approx(27, rel=1e-6)


def test_the_ridge_keeps_dpo_finite_where_a_response_was_only_edited_away() -> None:
    table = fit_table(np.array([[0.5, 0.5]]), log_of([[0, 0], [4, 0]]), preference=1, supervision=0)
    assert 0 < table[0, 1] < 0.1
    assert np.isfinite(table).all()


def test_the_joint_loss_is_at_a_local_minimum() -> None:
    """No small step in any logit makes the joint loss better: it was trained to convergence."""
    setting = LabSetting(0.8, 3.0)
    log = draw_lab_log(setting.world, 500, np.random.default_rng(0))
    reference = setting.world.problem.reference
    table = fit_table(reference, log, preference=1, supervision=0.3)

    def loss(policy: np.ndarray) -> float:
        theta = np.log(policy / reference)
        theta -= theta.mean(axis=1, keepdims=True)  # the ridge picks the logits that add up to 0
        margins = theta[:, None, :] - theta[:, :, None]
        kept = log.counts.copy()
        kept[:, np.arange(32), np.arange(32)] = 0
        return float(
            (kept * np.logaddexp(0, -margins)).sum()
            - 0.3 * (log.edit_counts * np.log(policy)).sum()
            + 0.05 * (theta**2).sum()
        )

    least = loss(table)
    rng = np.random.default_rng(1)
    for _ in range(20):
        moved = table * np.exp(rng.normal(0, 1e-3, table.shape))
        assert loss(moved / moved.sum(axis=1, keepdims=True)) > least


def test_dpo_without_a_class_reaches_the_optimum_with_a_log_long_enough() -> None:
    setting = LabSetting(0.4, 3.0)
    problem = setting.world.problem
    distances = []
    for n in (10**4, 10**6, 10**8):
        log = draw_lab_log(setting.world, n, np.random.default_rng(n))
        table = fit_table(problem.reference, log, preference=1, supervision=0)
        distances.append(problem.distance(table, problem.optimum))
    assert distances[0] > 5 * distances[1] > 25 * distances[2]
    assert distances[2] < 0.002


def test_sft_without_a_class_converges_to_the_distribution_of_edits() -> None:
    setting = LabSetting(0.4, 3.0)
    problem = setting.world.problem
    table = fit_table(problem.reference, expected_log(setting), preference=0, supervision=1)
    assert table == pytest.approx(setting.world.edited_distribution, abs=1e-4)
    assert problem.distance(table, problem.optimum) > 0.1


def test_rl_assigns_the_largest_cost_to_unseen_responses() -> None:
    reference = np.array([[0.5, 0.5]])
    only_a = log_of([[3, 1], [0, 0]])
    table = fit_cost_table(reference, only_a, 1.0, 1.0, 0.0)
    assert table[0, 0] / table[0, 1] == pytest.approx(np.exp(1 - 0.25))
    doubtful = fit_cost_table(reference, only_a, 1.0, 1.0, 1.0)
    assert doubtful[0, 0] / doubtful[0, 1] == pytest.approx(np.exp(1 - (0.25 + 1 / np.sqrt(8))))
