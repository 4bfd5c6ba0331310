from itertools import product
from math import sqrt

import numpy as np
import pytest

from copydesk.offpolicy.estimators import (
    compute_effective_sample_size,
    compute_interval,
    compute_standard_error,
    compute_t_quantile,
    estimate_doubly_robust,
    estimate_ips,
    estimate_logged_mean,
    estimate_snips,
)

W, C = [2.0, 0.0, 0.5], [0.5, 1.0, 0.2]


def test_by_hand() -> None:
    assert estimate_logged_mean(C).value == pytest.approx(1.7 / 3)
    assert estimate_ips(W, C).value == pytest.approx(1.1 / 3)
    assert estimate_snips(W, C).value == pytest.approx(1.1 / 2.5)
    assert estimate_doubly_robust(W, C, [0.4, 0.8, 0.1], [0.3, 0.3, 0.6]).value == pytest.approx(
        0.4 + (2 * 0.1 + 0.5 * 0.1) / 3
    )
    assert compute_effective_sample_size(W) == pytest.approx(2.5**2 / 4.25)
    assert compute_effective_sample_size([3.0] * 7) == pytest.approx(7)
    assert compute_effective_sample_size([0.0, 0.0]) == 0
    assert compute_effective_sample_size([1e200, 1e200]) == pytest.approx(2)


def test_errors_by_hand() -> None:
    assert compute_standard_error(estimate_logged_mean(C)) == pytest.approx(np.std(C, ddof=1) / sqrt(3))
    # Leaving out row i of a ratio moves it by w_i (c_i - ratio) / Σw / (1 - w_i / Σw).
    fit = estimate_snips(W, C)
    for place in range(3):
        rest = [i for i in range(3) if i != place]
        w, c = np.array(W)[rest], np.array(C)[rest]
        assert fit.value - w @ c / w.sum() == pytest.approx(fit.influence[place] / 3)
    estimate = compute_interval(estimate_logged_mean(C), 3, least=0.0)
    assert estimate.low == 0.0 and estimate.high > estimate.value


def test_equal_weights_give_the_logged_mean_and_no_difference() -> None:
    for fit in (estimate_ips([1.0] * 3, C), estimate_snips([1.0] * 3, C)):
        assert fit.value == pytest.approx(estimate_logged_mean(C).value)
    difference = compute_interval(estimate_ips([1.0] * 3, C).minus(estimate_logged_mean(C)), 3)
    assert (difference.low, difference.high) == (0, 0)


@pytest.mark.parametrize(("freedom", "quantile"), [(10, 2.2281), (30, 2.0423), (100, 1.9840), (1e9, 1.9600)])
def test_student_quantiles_match_the_tables(freedom: float, quantile: float) -> None:
    assert compute_t_quantile(freedom) == pytest.approx(quantile, abs=1e-3)


class World:
    """2 contexts, 2 arms, 3 answers, costs of 2 values: all that can happen in two rounds can be counted."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.rho = np.array([0.3, 0.7])
        self.choice = np.array([[0.2, 0.8], [0.6, 0.4]])  # arms by context
        self.arms = (rng.dirichlet(np.ones(3), size=(2, 2)) + 1 / 3) / 2  # arm, context, answer; none of them rare
        self.policy = rng.dirichlet(np.ones(3), size=2)
        self.costly = rng.random((2, 3))  # chance of a cost of 0.9 rather than 0.1
        self.costs = 0.1 + 0.8 * self.costly
        self.truth = float((self.rho[:, None] * self.policy * self.costs).sum())
        self.arm_truth = float((self.rho[:, None] * self.arms[1] * self.costs).sum())

    def rounds(self):
        for x, a, y, costly in product(range(2), range(2), range(3), range(2)):
            odds = self.rho[x] * self.choice[x, a] * self.arms[a, x, y]
            yield odds * (self.costly[x, y] if costly else 1 - self.costly[x, y]), x, a, y, 0.1 + 0.8 * costly

    def expected(self, estimate) -> float:
        """E of an estimate from two rounds; it is given x, a, y and c of both."""
        total = 0.0
        for (p, *one), (q, *two) in product(self.rounds(), repeat=2):
            x, a, y, c = (np.array(pair) for pair in zip(one, two, strict=True))
            total += p * q * estimate(x, a, y, c).value
        return total


def test_estimators_are_unbiased_over_all_outcomes() -> None:
    world = World()
    wrong = np.random.default_rng(4).random((2, 3))
    text = world.policy / world.arms  # arm, context, answer

    def model(f, weights):
        e = (world.policy * f).sum(axis=1)
        return lambda x, a, y, c: estimate_doubly_robust(weights(x, a, y), c, f[x, y], e[x])

    assert world.expected(lambda x, a, y, c: estimate_ips(text[a, x, y], c)) == pytest.approx(world.truth, abs=1e-12)
    by_choice = world.expected(lambda x, a, y, c: estimate_ips((a == 1) / world.choice[x, a], c))
    assert by_choice == pytest.approx(world.arm_truth, abs=1e-12)
    right_weights = world.expected(model(wrong, lambda x, a, y: text[a, x, y]))
    assert right_weights == pytest.approx(world.truth, abs=1e-12)
    right_model = world.expected(model(world.costs, lambda x, a, y: 3 * wrong[x, y]))
    assert right_model == pytest.approx(world.truth, abs=1e-12)
    neither = world.expected(model(wrong, lambda x, a, y: 3 * wrong[x, y]))
    assert abs(neither - world.truth) > 0.01


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    logs, held = 200, {"ips": 0, "snips": 0, "dr": 0}
    world = World()
    text = world.policy / world.arms
    e = (world.policy * world.costs).sum(axis=1) + 0.1
    for seed in range(logs):
        rng = np.random.default_rng([8, seed])
        x = (rng.random(200) > world.rho[0]).astype(int)
        a = (rng.random(200) > world.choice[x, 0]).astype(int)
        y = (rng.random((200, 1)) > world.arms[a, x].cumsum(axis=1)).sum(axis=1)
        c = 0.1 + 0.8 * (rng.random(200) < world.costly[x, y])
        w = text[a, x, y]
        fits = {
            "ips": estimate_ips(w, c),
            "snips": estimate_snips(w, c),
            "dr": estimate_doubly_robust(w, c, world.costs[x, y] + 0.1, e[x]),
        }
        for name, fit in fits.items():
            estimate = compute_interval(fit, compute_effective_sample_size(w))
            held[name] += estimate.low <= world.truth <= estimate.high
    # 190 are expected; fewer than 178 or more than 199 have a chance below 1 in 4000.
    for count in held.values():
        assert 178 <= count <= 199, held
