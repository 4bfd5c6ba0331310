from math import log

import numpy as np
import pytest

from copydesk.theory.problem import Problem, compute_objective_values, gibbs, kl

BETA = 1 / log(3)
TWO = Problem(np.ones(1), np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]]), BETA)
"""exp(−1/β) = 1/3, so that π* = (3/4, 1/4) and Z = 2/3."""


def test_the_optimum_by_hand() -> None:
    assert TWO.optimum == pytest.approx(np.array([[0.75, 0.25]]), abs=1e-15)


def test_objective_and_suboptimality_by_hand() -> None:
    assert TWO.objective(TWO.reference) == pytest.approx(0.5)
    assert TWO.objective(TWO.optimum) == pytest.approx(-BETA * log(2 / 3))
    assert TWO.suboptimality(TWO.reference) == pytest.approx(0.5 + BETA * log(2 / 3))
    assert TWO.suboptimality(TWO.optimum) == 0
    assert TWO.distance(TWO.reference, TWO.optimum) == pytest.approx(0.25)
    assert TWO.expected_cost(TWO.optimum) == pytest.approx(0.25)


def test_suboptimality_is_the_difference_of_objectives() -> None:
    """Lemma 1, on random problems."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        contexts = rng.dirichlet(np.ones(3))
        problem = Problem(contexts, rng.dirichlet(np.ones(5), 3), rng.random((3, 5)), rng.uniform(0.05, 2))
        policy = rng.dirichlet(np.ones(5), 3)
        gap = problem.objective(policy) - problem.objective(problem.optimum)
        assert problem.suboptimality(policy) == pytest.approx(gap, abs=1e-12)
        assert gap > 0


def test_a_policy_may_leave_a_response_out() -> None:
    sure = np.array([[1.0, 0.0]])
    assert TWO.objective(sure) == pytest.approx(BETA * log(2))
    assert kl(sure, np.array([[0.0, 1.0]]))[0] == np.inf


def test_gibbs_and_values_over_a_leading_axis() -> None:
    costs = np.stack([TWO.cost, np.zeros((1, 2))])
    policies = gibbs(TWO.reference, costs, BETA)
    assert policies.shape == (2, 1, 2)
    assert policies[1] == pytest.approx(TWO.reference)
    assert compute_objective_values(policies, TWO.reference, TWO.cost, BETA)[:, 0] == pytest.approx(
        [TWO.objective(TWO.optimum), TWO.objective(TWO.reference)]
    )
