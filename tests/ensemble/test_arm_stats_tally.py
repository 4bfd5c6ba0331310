"""Weights by age, against sums written down directly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.ensemble.arm_stats import ArmState, ScopeStats


@given(
    st.floats(0.3, 1.0),
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3), st.integers(0, 5)), min_size=1, max_size=30),
)
def test_weights_are_powers_of_the_discount_whenever_costs_come(discount: float, rounds) -> None:
    tally, due = ScopeStats(discount), []
    for arm, cost, delay in rounds:
        turn = tally.play(arm)
        due.append((turn + delay, arm, turn, cost))
        for item in [item for item in due if item[0] <= turn]:
            tally.observe(*item[1:])
            due.remove(item)
    last = len(rounds)
    for arm in "ab":
        weights = [discount ** (last - t) if a == arm else 0.0 for t, (a, _, _) in enumerate(rounds, start=1)]
        came = [t + delay <= last for t, (_, _, delay) in enumerate(rounds, start=1)]
        state = tally.weighted_state(arm)
        assert state.pulls == pytest.approx(sum(weights))
        assert state.n == pytest.approx(sum(w for w, c in zip(weights, came, strict=True) if c))
        costs = [w * c for w, (_, c, _), there in zip(weights, rounds, came, strict=True) if there]
        assert state.cost_sum == pytest.approx(sum(costs), abs=1e-9)
        assert tally.unweighted_state(arm).pulls == sum(a == arm for a, _, _ in rounds)


def test_an_arm_that_has_faded_is_as_new() -> None:
    tally = ScopeStats(0.1)
    tally.observe("a", tally.play("a"), 1.0)
    for _ in range(20):
        tally.play("b")
    assert tally.weighted_state("a") == ArmState()
    assert tally.unweighted_state("a") == ArmState(n=1, cost_sum=1.0, cost_sq_sum=1.0)


def test_restarting_weighs_what_was_played_alike() -> None:
    tally = ScopeStats()
    for cost in (1.0, 0.0):
        tally.observe("a", tally.play("a"), cost)
    tally.set_discount(0.5)
    assert tally.weighted_state("a") == tally.unweighted_state("a")
    tally.play("b")
    assert tally.weighted_state("a").cost_sum == 0.5
