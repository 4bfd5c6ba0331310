import numpy as np
import pytest

from copydesk.training.cost_model.io import compute_calibration, compute_prediction_metrics


def test_figures_by_hand() -> None:
    found = compute_prediction_metrics([0.0, 0.5, 1.0, 1.0], [0.0, 1.0, 1.0, 2.0], mean=1.0)
    assert found["mae"] == pytest.approx((0 + 0.5 + 0 + 1) / 4)
    assert found["mae_mean"] == pytest.approx((1 + 0 + 0 + 1) / 4)
    assert found["bias"] == pytest.approx((0 - 0.5 + 0 - 1) / 4)
    assert found["r2"] == pytest.approx(1 - (0.25 + 1) / 2)
    # Ranks 1, 2, 3.5, 3.5 against 1, 2.5, 2.5, 4.
    assert found["rank_correlation"] == pytest.approx(np.corrcoef([1, 2, 3.5, 3.5], [1, 2.5, 2.5, 4])[0, 1])


def test_the_mean_predictor_has_r2_zero_and_no_ranks() -> None:
    found = compute_prediction_metrics([1.0, 1.0, 1.0], [0.0, 1.0, 2.0], mean=1.0)
    assert found["r2"] == 0
    assert found["mae"] == found["mae_mean"]
    assert "rank_correlation" not in found


def test_ranks_do_not_care_for_the_scale() -> None:
    costs = np.random.default_rng(0).random(50)
    assert compute_prediction_metrics(np.exp(9 * costs), costs, 0.5)["rank_correlation"] == pytest.approx(1)
    assert compute_prediction_metrics(-costs, costs, 0.5)["rank_correlation"] == pytest.approx(-1)


def test_what_is_not_defined_is_left_out() -> None:
    assert compute_prediction_metrics([], [], 0.5) == {}
    assert compute_prediction_metrics([0.2, 0.4], [0.5, 0.5], 0.5).keys() == {"mae", "mae_mean", "bias"}


def test_bins_hold_every_row_once_in_the_order_of_prediction() -> None:
    rng = np.random.default_rng(1)
    predicted = rng.random(103)
    costs = predicted + rng.normal(0, 0.1, 103)
    bins = compute_calibration(predicted, costs)
    assert len(bins) == 10
    assert sum(one.rows for one in bins) == 103
    assert [one.predicted for one in bins] == sorted(one.predicted for one in bins)
    assert sum(one.rows * one.cost for one in bins) == pytest.approx(costs.sum())
    lowest = np.sort(predicted)[: bins[0].rows]
    assert bins[0].predicted == pytest.approx(lowest.mean())
    assert all(abs(one.cost - one.predicted) < 4 * one.error for one in bins)


def test_few_rows_make_few_bins() -> None:
    assert compute_calibration([], []) == []
    assert [one.rows for one in compute_calibration([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])] == [3]
    assert [one.rows for one in compute_calibration(range(12), range(12))] == [6, 6]
