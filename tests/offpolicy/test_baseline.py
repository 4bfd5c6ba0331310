from dataclasses import replace

import numpy as np
import pytest

from copydesk.offpolicy.baseline import fit_baseline
from copydesk.offpolicy.traffic import LoggedAnswer


def row(context: str, cost: float) -> LoggedAnswer:
    return LoggedAnswer("", context, "", {}, "stop", None, "a", 1.0, frozenset(), cost)


def test_it_learns_which_contexts_are_expensive() -> None:
    rows = [row("a letter" if i % 2 else "a poem", 0.2 + 0.6 * (i % 2)) for i in range(400)]
    expected = fit_baseline(rows, np.ones(400)).expected
    assert expected[1::2].mean() - expected[::2].mean() > 0.4


def test_it_learns_the_policys_costs_and_not_the_logs() -> None:
    rows = [row("a poem", 0.2 + 0.6 * (i % 2)) for i in range(400)]
    expected = fit_baseline(rows, np.array([2.0, 0.0] * 200)).expected
    np.testing.assert_allclose(expected, 0.2, atol=1e-9)


def test_no_row_is_fitted_to_its_own_cost() -> None:
    rng = np.random.default_rng(0)
    rows = [row(f"number {i}", float(rng.random())) for i in range(60)]
    before = fit_baseline(rows, np.ones(60))
    assert before.predicted is before.expected
    for place in (0, 17, 59):
        changed = list(rows)
        changed[place] = replace(rows[place], cost=0.5)
        after = fit_baseline(changed, np.ones(60)).expected
        assert after[place] == pytest.approx(before.expected[place], abs=1e-12)
        assert not np.allclose(after, before.expected)


def test_without_weight_it_is_the_mean() -> None:
    rows = [row(f"number {i}", 0.25) for i in range(10)]
    np.testing.assert_allclose(fit_baseline(rows, np.zeros(10)).expected, 0.25)
