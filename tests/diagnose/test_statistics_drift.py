import numpy as np
import pytest

from copydesk.diagnose.statistics import measure_drift

UNTIMED = np.full(400, np.nan)


def test_a_planted_drift_is_found() -> None:
    rng = np.random.default_rng(0)
    costs = np.linspace(0.8, 0.3, 400) + rng.normal(0, 0.2, 400)
    found = measure_drift(costs, UNTIMED)
    assert found is not None
    assert found.low < -0.5 < found.high < 0
    assert found.sentence.startswith("The edit cost falls by")
    assert len(found.means) == 10
    assert found.means[0] > found.means[-1]
    assert found.by == "order"


def test_constant_costs_have_no_drift_sentence() -> None:
    rng = np.random.default_rng(1)
    found = measure_drift(rng.normal(0.5, 0.2, 400), UNTIMED)
    assert found is not None
    assert found.low < 0 < found.high
    assert found.sentence == ""


def test_the_interval_holds_the_slope_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    place = np.linspace(0, 1, 60)
    held = 0
    for _ in range(400):  # the spread grows along the log, which the interval must allow for
        found = measure_drift(0.4 + 0.3 * place + rng.normal(0, 1, 60) * (0.05 + 0.3 * place), UNTIMED[:60])
        assert found is not None
        held += found.low < 0.3 < found.high
    assert 0.91 < held / 400 < 0.98


def test_rows_are_ordered_by_their_date_where_all_have_one() -> None:
    costs = np.linspace(0, 1, 40)
    shuffled = np.random.default_rng(3).permutation(40)
    found = measure_drift(costs[shuffled], shuffled.astype(float))
    assert found is not None
    assert found.by == "created_at"
    assert found.slope == pytest.approx(1.0)
    mixed = measure_drift(costs[shuffled], np.where(shuffled == 0, np.nan, shuffled))
    assert mixed is not None
    assert mixed.by == "order"


def test_too_few_rows_have_no_drift() -> None:
    assert measure_drift(np.ones(9), UNTIMED[:9]) is None
