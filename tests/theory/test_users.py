"""The lab's users: Assumption 1 and lemma 1 of the paper, and how far edits lead towards π*."""

from math import comb

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from copydesk.theory.lab import LabSetting
from copydesk.theory.policy_classes import chi_distance
from copydesk.theory.problem import Array, PreferenceSpace
from copydesk.theory.study import CURVE_SETTINGS, USER_SETTINGS
from copydesk.theory.users import (
    apply_edits,
    attend_independently,
    attend_to_exactly,
    attention_kernel,
    compute_gamma_min,
    measure_user_quality,
)

TARGET = np.array([[0.75, 0.25]])
ONE = PreferenceSpace(1)
FIVE = PreferenceSpace(5)


def total_variation(policy: Array, other: Array) -> Array:
    return np.asarray(np.abs(policy - other).sum(axis=-1) / 2)


def draw_distribution(rng: np.random.Generator, size: int) -> Array:
    """From nearly uniform to nearly certain, and positive."""
    drawn = rng.dirichlet(np.full(size, 10.0 ** rng.uniform(-2, 1))) + 1e-9
    return np.asarray(drawn / drawn.sum())


def star_kernel(target: Array, share: float) -> Array:
    """From every response to the likeliest one with probability `share`; back as detailed balance demands. (Y, Y)."""
    best = int(target.argmax())
    kernel = np.diag(np.full(len(target), 1 - share))
    kernel[:, best] += share
    kernel[best] = share * target / target[best]
    kernel[best, best] = 0
    kernel[best, best] = 1 - kernel[best].sum()
    return kernel


def test_one_preference_by_hand() -> None:
    """Attended to with probability 1/2: it is redrawn from (3/4, 1/4), else kept."""
    kernel = attention_kernel(TARGET, ONE.agreement, attend_independently(ONE, 0.5))
    assert kernel == pytest.approx(np.array([[[7 / 8, 1 / 8], [3 / 8, 5 / 8]]]))
    found = measure_user_quality(TARGET, kernel)
    assert found.gamma_min == pytest.approx(3 / 8)
    assert found.eigenvalue == pytest.approx(1 / 2)
    assert found.contraction == pytest.approx(1 / 2)
    assert found.worsening == pytest.approx(1 / 8)


def test_preferences_not_attended_to_are_left_exactly_as_they_are() -> None:
    rng = np.random.default_rng(0)
    kernel = attention_kernel(draw_distribution(rng, 32), FIVE.agreement, attend_to_exactly(FIVE, 2))
    assert (kernel[FIVE.distance > 2 / 5] == 0).all()
    assert (kernel[FIVE.distance <= 2 / 5] > 0).all()


def test_the_number_of_preferences_attended_to() -> None:
    independent, exact = attend_independently(FIVE, 0.4), attend_to_exactly(FIVE, 2)
    for weights in (independent, exact):
        assert weights.sum() == pytest.approx(1)
        assert weights @ FIVE.subset_sizes == pytest.approx(2)
    assert exact[FIVE.subset_sizes == 2] == pytest.approx(1 / comb(5, 2))
    with pytest.raises(ValueError, match=r"cannot attend to 6 of 5"):
        attend_to_exactly(FIVE, 6)


@given(seed=st.integers(0, 2**32), attention=st.floats(0, 1), exact=st.none() | st.integers(0, 4))
def test_assumption_1_and_lemma_1_hold_for_random_policies_optima_and_users(
    seed: int, attention: float, exact: int | None
) -> None:
    """Detailed balance; ‖q∘π − π*‖ ≤ contraction ‖π − π*‖; and λ ≤ contraction ≤ 1 − γ_min."""
    space, rng = PreferenceSpace(4), np.random.default_rng(seed)
    target, policy = draw_distribution(rng, 16), draw_distribution(rng, 16)
    weights = attend_independently(space, attention) if exact is None else attend_to_exactly(space, exact)
    kernel = attention_kernel(target, space.agreement, weights)
    assert kernel.sum(axis=1) == pytest.approx(1)
    flow = target[:, None] * kernel
    assert np.abs(flow - flow.T).max() < 1e-12
    quality = measure_user_quality(target[None], kernel[None])
    assert quality.gamma_min == kernel[:, target.argmax()].min() <= target.max() + 1e-12
    assert quality.eigenvalue <= quality.contraction + 1e-9
    assert quality.contraction <= 1 - quality.gamma_min + 1e-9
    before, after = total_variation(policy, target), total_variation(apply_edits(policy, kernel), target)
    assert after <= quality.contraction * before + 1e-12
    left = chi_distance(np.ones(1), apply_edits(policy, kernel)[None], target[None])
    assert left <= quality.eigenvalue * chi_distance(np.ones(1), policy[None], target[None]) * (1 + 1e-6) + 1e-9


@given(seed=st.integers(0, 2**32), share=st.floats(0.01, 1))
def test_lemma_1_is_attained(seed: int, share: float) -> None:
    """By users who move straight to y*, for any γ_min up to π*(y*), where π and π* differ in other responses only."""
    rng = np.random.default_rng(seed)
    target = draw_distribution(rng, 5)
    share *= float(target.max())
    kernel = star_kernel(target, share)
    flow = target[:, None] * kernel
    assert kernel.min() >= 0 and np.abs(flow - flow.T).max() < 1e-12
    gamma_min = float(compute_gamma_min(target, kernel))
    assert gamma_min == pytest.approx(share)
    worst, other = target.argsort()[:2]
    moved = target[worst] / 2
    assume(moved > 1e-6)
    policy = target.copy()
    policy[worst] -= moved
    policy[other] += moved
    after = total_variation(apply_edits(policy, kernel), target)
    assert after == pytest.approx((1 - gamma_min) * total_variation(policy, target), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("setting", [*CURVE_SETTINGS, *USER_SETTINGS], ids=str)
def test_every_world_of_the_lab_satisfies_detailed_balance_and_lemma_1(setting: LabSetting) -> None:
    problem, edits, quality = setting.world.problem, setting.world.edits, setting.quality
    flow = problem.optimum[:, :, None] * edits
    assert np.abs(flow - np.swapaxes(flow, 1, 2)).max() < 1e-12
    assert np.abs(edits.sum(axis=2) - 1).max() < 1e-12
    edited = setting.world.edited_distribution
    gamma_min = compute_gamma_min(setting.optimum, edits)
    before, after = (total_variation(policy, setting.optimum) for policy in (problem.reference, edited))
    assert (after <= (1 - gamma_min) * before + 1e-12).all()
    given_ = setting.coefficients
    assert problem.distance(edited, setting.optimum) <= given_.distance_left + 1e-12
    limit = quality.eigenvalue * chi_distance(problem.contexts, problem.reference, setting.optimum)
    assert given_.left <= limit + 1e-9 and limit <= given_.gamma_left + 1e-9


@pytest.mark.parametrize("attention", [0.2, 0.6, 1.0])
def test_gamma_min_of_independent_attention(attention: float) -> None:
    """(p θ)^K, with θ the probability that a draw from π* meets a preference; λ is 1 − p."""
    setting = LabSetting(attention, 3.0)
    meets = 1 / (1 + np.exp(-4))
    assert setting.optimum.max() == pytest.approx(meets**5)
    assert setting.quality.gamma_min == pytest.approx((attention * meets) ** 5)
    assert setting.quality.eigenvalue == pytest.approx(1 - attention, abs=1e-7)


def test_exactly_two_preferences_break_assumption_1_and_each_with_two_in_five_does_not() -> None:
    """γ_min is 0 where three are missed; in χ-distance the two users lead to π* equally fast."""
    exact, independent = LabSetting(0.4, 3.0, exact=True), LabSetting(0.4, 3.0)
    assert exact.quality.gamma_min == 0 and exact.quality.contraction == pytest.approx(1)
    assert independent.quality.gamma_min > 0.009
    best = exact.optimum[0].argmax()
    reached = exact.world.edits[0, :, best] > 0
    assert (reached == (FIVE.distance[best] <= 2 / 5)).all()
    for setting in (exact, independent):
        assert setting.quality.eigenvalue == pytest.approx(0.6)


def test_several_edits_are_one_edit_of_a_more_attentive_user() -> None:
    once, twice = LabSetting(0.4, 3.0).world.edits, LabSetting(0.64, 3.0).world.edits
    assert once @ once == pytest.approx(twice)


def test_a_user_who_improves_anything_also_makes_something_worse_at_the_rate_of_detailed_balance() -> None:
    for setting in USER_SETTINGS:
        assert 0 < setting.quality.worsening < 0.1
        attended = setting.attention * (1 - 1 / (1 + np.exp(-4)))
        perfect = setting.world.edits[0, setting.optimum[0].argmax()]
        near = FIVE.distance[setting.optimum[0].argmax()] == 1 / 5
        if not setting.exact:
            assert perfect[near].sum() == pytest.approx(5 * attended * (1 - attended) ** 4)


def test_stronger_users_leave_less() -> None:
    left = [setting.distance_left for setting in USER_SETTINGS if not setting.exact]
    assert left == sorted(left, reverse=True)
    assert left[0] > 0.5
    assert left[-1] < 1e-12


@pytest.mark.parametrize("divergence", [1.0, 6.0])
def test_the_reference_policy_is_the_same_for_every_user(divergence: float) -> None:
    """So the quality of edits and coverage are independent."""
    weak, strong = (LabSetting(attention, divergence).world.problem for attention in (0.2, 1.0))
    assert weak.reference == pytest.approx(strong.reference)
    assert weak.beta < strong.beta
