"""Thompson sampling, discounted UCB and fixed shares."""

import math

import numpy as np
import pytest

from copydesk.ensemble import ArmState, DiscountedUcb, FixedShares, LateEnsemble, Thompson, Ucb
from copydesk.errors import InputError

RNG = np.random.default_rng


def test_thompson_plays_an_arm_as_often_as_it_is_likely_to_be_cheapest() -> None:
    """Two normal beliefs with the same spread: P(first is less) = Phi(gap / (sqrt 2 x deviation))."""
    arms = [ArmState(n=9, cost_sum=4.5), ArmState(n=9, cost_sum=6.3)]
    rule = Thompson(alpha=1.0, draws=200_000)
    shares = rule(arms, 19, RNG(0))
    means = [(0.6 + 4.5) / 10, (0.6 + 6.3) / 10]
    z = (means[1] - means[0]) / (np.sqrt(2) / np.sqrt(10))
    normal = np.mean(RNG(1).standard_normal(400_000) < z)
    assert shares[0] == pytest.approx(normal, abs=0.01)
    assert sum(shares) == pytest.approx(1)


def test_thompsons_pending_pulls_narrow_its_belief() -> None:
    seen, waiting = ArmState(n=4, cost_sum=2.0), ArmState(n=4, pending=60, cost_sum=2.0)
    worse = ArmState(n=400, cost_sum=220.0)
    rule = Thompson(draws=50_000)
    assert rule([waiting, worse], 469, RNG(0))[1] < rule([seen, worse], 409, RNG(0))[1]


def regret(rule, changes: bool, seed: int, rounds: int = 3000) -> float:
    """Mean excess cost over the best arm of the second half; halfway the best arm may become the worst."""
    rng = RNG(seed)
    ensemble, excess = LateEnsemble(["a", "b"], rule, seed), []
    for t in range(rounds):
        means = {"a": 0.3, "b": 0.5} if not changes or t < rounds // 2 else {"a": 0.7, "b": 0.5}
        pull = ensemble.choose()
        ensemble.update(pull, float(rng.random() < means[pull.arm]))
        excess.append(means[pull.arm] - min(means.values()))
    return float(np.mean(excess[rounds // 2 :]))


def test_thompson_learns() -> None:
    assert np.mean([regret(Thompson(0.5), False, seed, 1200) for seed in range(3)]) < 0.03


def test_discounted_ucb_follows_users_who_change_and_plain_ucb_does_not() -> None:
    forgets = np.mean([regret(DiscountedUcb(0.5, 0.99), True, seed) for seed in range(4)])
    plain = np.mean([regret(Ucb(0.5), True, seed) for seed in range(4)])
    assert forgets < plain / 2


def test_without_a_discount_it_is_ucb() -> None:
    rng = RNG(0)
    table = rng.random((300, 3))

    def choices(rule) -> list[str]:
        ensemble = LateEnsemble(["a", "b", "c"], rule)
        out = []
        for row in table:
            pull = ensemble.choose()
            out.append(pull.arm)
            ensemble.update(pull, row["abc".index(pull.arm)])
        return out

    assert choices(DiscountedUcb(0.3, 1.0)) == choices(Ucb(0.3))
    assert choices(DiscountedUcb(0.3, 0.9)) != choices(Ucb(0.3))


def test_fixed_shares_go_by_name() -> None:
    arms = [ArmState(name="a", n=50, cost_sum=50.0), ArmState(name="b"), ArmState(name="c")]
    assert FixedShares({"c": 3, "a": 1})(arms, 51, RNG(0)) == [0.25, 0.0, 0.75]
    assert FixedShares({"gone": 1})(arms, 51, RNG(0)) == pytest.approx([1 / 3] * 3)
    ensemble = LateEnsemble(["a", "b"], FixedShares({"a": 1}))
    assert {ensemble.choose().arm for _ in range(9)} == {"a"}


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Thompson(-1.0), "--alpha: -1.0 must be at least 0"),
        (lambda: Thompson(draws=0), "--draws: 0 must be at least 1"),
        (lambda: DiscountedUcb(discount=0.0), "--discount: 0.0 must be greater than 0 and at most 1"),
        (lambda: DiscountedUcb(discount=1.1), "--discount: 1.1 must be greater than 0 and at most 1"),
        (lambda: FixedShares({"a": -1.0}), "--share a=-1.0: a share must be at least 0"),
        (lambda: FixedShares({"a": math.nan}), "--share: nan must be a finite number"),
        (lambda: FixedShares({"a": math.inf}), "--share: inf must be a finite number"),
    ],
)
def test_settings_out_of_range_are_one_line_that_names_the_flag(make, line) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == line


def test_values_by_position_are_the_settings_in_order() -> None:
    assert DiscountedUcb(0.3, 0.9) == DiscountedUcb(alpha=0.3, discount=0.9)
    with pytest.raises(TypeError, match="at most 1 values"):
        Ucb(0.3, 0.9)
