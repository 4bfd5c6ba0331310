"""An ensemble that lives: arms come and go, edits are revised or never come, users have wishes of their own."""

import numpy as np
import pytest

from copydesk.ensemble import ArmState, FixedShares, LateEnsemble, Pull, Ucb


def test_an_edit_of_an_edit_replaces_its_cost() -> None:
    ensemble = LateEnsemble(["a"])
    pull = ensemble.choose()
    with pytest.raises(ValueError, match="no cost yet"):
        ensemble.revise(pull, 0.0, 0.5)
    ensemble.update(pull, 0.75)
    ensemble.revise(pull, 0.75, 0.25)
    assert ensemble.arms["a"] == ArmState(n=1, cost_sum=0.25, cost_sq_sum=0.0625)


def test_a_failed_pull_is_neither_cost_nor_count() -> None:
    ensemble = LateEnsemble(["a", "b"])
    pull = ensemble.choose()
    ensemble.withdraw(pull)
    assert ensemble.arms["a"] == ArmState()
    assert ensemble.rounds == 1  # it was a choice all the same
    assert ensemble.choose().arm == "a"  # still untried
    with pytest.raises(ValueError, match="already has a cost"):
        ensemble.update(pull, 0.5)


def test_an_edit_that_never_comes_expires_and_may_still_come() -> None:
    ensemble = LateEnsemble(["a", "b"], expiry=10.0)
    first = ensemble.choose(at=0.0)
    second = ensemble.choose(at=9.0)
    ensemble.choose(at=10.0)
    assert sorted(ensemble.pending) == [1, 2, 3]  # ten seconds are not more than ten
    ensemble.choose(at=10.5)
    assert sorted(ensemble.pending) == [2, 3, 4]
    assert sum(state.pulls for state in ensemble.arms.values()) == 3
    with pytest.raises(ValueError, match="has not expired"):
        ensemble.readmit(second)
    ensemble.readmit(first)
    ensemble.update(first, 0.5)
    assert ensemble.arms["a"].n == 1


def test_without_an_expiry_pulls_are_awaited_for_ever() -> None:
    ensemble = LateEnsemble(["a"])
    ensemble.choose(at=0.0)
    ensemble.choose(at=1e12)
    assert len(ensemble.pending) == 2


def test_arms_come_and_go() -> None:
    ensemble = LateEnsemble(["a", "b"])
    for _ in range(4):
        ensemble.update(ensemble.choose(), 0.5)
    ensemble.add("c")
    assert ensemble.choose().arm == "c"  # untried
    late = ensemble.choose()
    ensemble.retire("c")
    assert "c" not in ensemble.arms
    assert ensemble.retired["c"].pending >= 1
    assert all(ensemble.choose().arm != "c" for _ in range(5))
    ensemble.update(late, 0.1)  # whatever it was, its edit is still taken
    ensemble.add("c")
    assert ensemble.arms["c"].pulls >= 1
    with pytest.raises(ValueError, match="no arm 'x'"):
        ensemble.retire("x")


def test_arms_that_cannot_answer_are_passed_over() -> None:
    ensemble = LateEnsemble(["a", "b"])
    assert ensemble.choose(excluded={"a"}).arm == "b"
    with pytest.raises(ValueError, match="no arm to choose"):
        ensemble.choose(excluded={"a", "b"})
    assert ensemble.rounds == 1


def test_users_with_different_wishes_get_different_arms_and_newcomers_what_most_like() -> None:
    liked = {"ann": "a", "bob": "b"}
    rng = np.random.default_rng(0)
    ensemble = LateEnsemble(["a", "b"], Ucb(0.2), prior=5.0)
    users = ["ann", "ann", "bob"]
    for t in range(900):
        user = users[t % 3]
        pull = ensemble.choose(user)
        ensemble.update(pull, 0.2 * rng.random() + (0.0 if pull.arm == liked[user] else 0.5))
    for user, arm in liked.items():
        assert ensemble.scope_states(user)[arm].pulls > 0.85 * sum(
            s.pulls for s in ensemble.scope_states(user).values()
        )
    everyone = sum(state.pulls for state in ensemble.arms.values())
    assert everyone == sum(s.pulls for user in liked for s in ensemble.scope_states(user).values())
    new = {state.name: state for state in ensemble.states("cid")}
    assert new["a"].n == new["b"].n == 5.0  # borrowed
    assert new["a"].mean == pytest.approx(ensemble.arms["a"].mean)
    fresh = LateEnsemble(["a", "b"], Ucb(0.2), prior=0.0)
    assert [state.n for state in fresh.states("cid")] == [0, 0]


def test_without_a_prior_every_scope_shares() -> None:
    ensemble = LateEnsemble(["a", "b"], Ucb(0.0))
    for user, cost in (("ann", 0.1), ("bob", 0.9)):
        ensemble.update(ensemble.choose(user), cost)
    assert {ensemble.choose(user).arm for user in ("ann", "bob", "cid")} == {"a"}
    assert ensemble.scopes == ["ann", "bob", "cid"]


def test_pulls_of_a_log_are_played_without_choosing_again() -> None:
    rng = np.random.default_rng(3)
    live, again = LateEnsemble(["a", "b", "c"], FixedShares()), LateEnsemble(["a", "b", "c"], FixedShares())
    for _ in range(40):
        pull = live.choose("ann")
        again.play(pull)
        cost = float(rng.random())
        live.update(pull, cost)
        again.update(pull, cost)
    assert live.arms == again.arms
    assert live.choose("ann") == again.choose("ann")
    with pytest.raises(ValueError, match="round 42"):
        again.play(Pull(7, "a", 1.0))


def test_following_another_discount_keeps_what_is_known() -> None:
    from copydesk.ensemble import DiscountedUcb

    ensemble = LateEnsemble(["a", "b"])
    for cost in (0.25, 0.5, 0.5):
        ensemble.update(ensemble.choose("ann"), cost)
    ensemble.reconfigure(DiscountedUcb(1.0, 0.5), seed=1, prior=2.0, expiry=5.0)
    assert ensemble.states() == list(ensemble.arms.values())
    ensemble.update(ensemble.choose("ann"), 0.0)
    assert sum(state.pulls for state in ensemble.states()) == 2.5
    assert sum(state.pulls for state in ensemble.arms.values()) == 4
