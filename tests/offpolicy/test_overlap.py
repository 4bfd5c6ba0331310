import numpy as np
import pytest

from copydesk.errors import InputError
from copydesk.offpolicy.overlap import Overlap, check_overlap, compute_expected_sample_size

RNG = np.random.default_rng(0)


def test_weights_close_to_one_are_sufficient() -> None:
    overlap = Overlap.from_weights(np.ones(50))
    assert (overlap.rows, overlap.effective, overlap.largest) == (50, pytest.approx(50), pytest.approx(0.02))
    check_overlap(overlap, "p", "do")
    check_overlap(Overlap.from_weights(RNG.lognormal(-0.125, 0.5, size=2000)), "p", "do")


@pytest.mark.parametrize(
    ("weights", "unreachable", "why"),
    [
        (np.ones(29), 0, r"29\.0 of 29 rows\): 30 effective rows are needed"),
        (np.zeros(500), 0, r"size 0\.0 of 500 rows"),
        (np.zeros(0), 0, r"size 0\.0 of 0 rows"),
        (np.r_[np.ones(50) * 200, np.zeros(9950)], 0, r"100 effective rows are needed"),
        (np.r_[np.ones(300), 40.0], 0, r"one row alone has 12% of the weight"),
        (np.full(500, 1e-6), 0, r"average 1e-06 and not 1"),
        (np.ones(500), 26, r"in 26 rows another policy was certain to answer"),
    ],
)
def test_too_little_is_refused_in_one_line(weights, unreachable: int, why: str) -> None:
    with pytest.raises(InputError, match=why) as refused:
        check_overlap(Overlap.from_weights(weights, unreachable), "p", "add it as an arm")
    message = str(refused.value)
    assert message.startswith("--policy p: ") and message.endswith("; add it as an arm") and "\n" not in message


def test_an_average_that_is_off_by_chance_is_accepted() -> None:
    few = np.r_[np.full(60, 1.6), np.full(60, 0.1)]  # 0.85, an error of 0.07
    assert Overlap.from_weights(few).why_insufficient is None
    assert Overlap.from_weights(np.tile(few, 20)).why_insufficient is not None
    close = np.r_[np.full(6000, 1.05), np.full(6000, 0.81)]  # 0.93: many errors away, and near enough
    assert Overlap.from_weights(close).why_insufficient is None


def test_the_spread_of_log_weights_gives_the_expected_sample_size() -> None:
    rng = np.random.default_rng(0)
    near, far = 0.4 * rng.normal(size=3000), 1.5 * rng.normal(size=3000)
    assert compute_expected_sample_size(near, ["a"] * 3000) == pytest.approx(3000 / np.exp(0.16), rel=0.05)
    both = compute_expected_sample_size(np.r_[near, far], ["a"] * 3000 + ["b"] * 3000)
    assert both == pytest.approx(6000 / ((np.exp(0.16) + np.exp(2.25)) / 2), rel=0.1)
    assert compute_expected_sample_size(np.r_[np.zeros(5), -np.inf], ["a"] * 6) == 6
    assert compute_expected_sample_size(np.full(3, -np.inf), ["a"] * 3) == 3
    assert compute_expected_sample_size(np.zeros(0), []) == 0
    assert compute_expected_sample_size(np.array([0.0, 1e6]), ["a", "a"]) < 1e-100
    assert Overlap.from_weights(np.ones(200), expected=100.0).why_insufficient is None
    assert "99 reliable effective rows, and 100 are needed" in str(
        Overlap.from_weights(np.ones(200), expected=99.0).why_insufficient
    )
