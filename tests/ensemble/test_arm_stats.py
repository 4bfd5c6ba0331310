"""An arm's statistics."""

from copydesk.ensemble import ArmState


def test_a_pull_is_pending_until_its_cost_comes() -> None:
    state = ArmState().with_pull().with_pull().with_cost(0.5)
    assert state == ArmState(n=1, pending=1, cost_sum=0.5, cost_sq_sum=0.25)
    assert state.pulls == 2
    assert state.mean == 0.5


def test_there_is_no_mean_before_the_first_cost() -> None:
    assert ArmState().with_pull().mean is None
