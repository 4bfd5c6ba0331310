from math import exp, log, pi, sqrt

import numpy as np
import pytest

from copydesk.theory.bounds import (
    BoundCoefficients,
    dpo_bound,
    hellinger_to_kl,
    late_bound,
    rl_bound,
    rl_width,
    sft_bound,
    sft_distance_bound,
    sft_gamma_bound,
)
from copydesk.theory.lab import LabSetting
from copydesk.theory.learners import draw_lab_log, select_dpo_member, select_rl_member, select_sft_member
from copydesk.theory.policy_classes import PolicyClass, chi_distance, preference_coverage, single_policy_coverage
from copydesk.theory.problem import kl
from copydesk.theory.users import make_world

GIVEN = BoundCoefficients(
    members=5,
    beta=0.5,
    scale=2.0,
    c_pref=0.08,
    v_max=log(3),
    left=0.1,
    gamma_left=0.2,
    distance_left=0.3,
    ratio=4.0,
    c_2=3.0,
    c_max=0.5,
    spread=0.2,
)
DELTA = 0.05
EDITS = ((5 / 6, 1 / 6), (1 / 2, 1 / 2))
"""In detailed balance with (3/4, 1/4)."""
LOG = log(5 / DELTA)


def test_each_bound_by_hand() -> None:
    # σ'(log 3) = 3/16
    assert dpo_bound(GIVEN, 100, DELTA).value == pytest.approx(sqrt(2 * 0.08 * LOG / 100) / (2 * 3 / 16))
    phi = 4 * log(4) - 3  # (W log W − W + 1)/(√W − 1)² with W = 4
    assert sft_bound(GIVEN, 100, DELTA).value == pytest.approx(phi * (sqrt(LOG / 100) + sqrt(2) * 0.1) ** 2)
    assert sft_gamma_bound(GIVEN, 100, DELTA).value == pytest.approx(phi * (sqrt(LOG / 100) + sqrt(2) * 0.2) ** 2)
    assert sft_distance_bound(GIVEN, 100, DELTA).value == pytest.approx(sqrt(2 * LOG / 100) + 0.3)
    each = log(15 / DELTA) / 100
    by_hand = 0.5 * sqrt(28 / 3 * 3 * each) + 0.5 * sqrt(2 * each) + 0.2 * sqrt(each / 2)
    assert rl_bound(GIVEN, 100, DELTA).value == pytest.approx(by_hand)
    assert rl_width(GIVEN, 100, DELTA) == pytest.approx(7 / 12 * each)
    assert late_bound(100, 4, 0.5).value == pytest.approx(0.5 * (4 * sqrt(800 * log(100)) + (1 + pi**2 / 3) * 4))
    assert sft_bound(GIVEN, 100, DELTA).ingredients["χ_q"] == 0.1


def test_a_late_ensemble_has_at_least_one_round() -> None:
    with pytest.raises(ValueError, match=r"at least one round"):
        late_bound(0, 4, 1.0)


def test_the_hellinger_bound_on_kl_holds_and_is_tight() -> None:
    """Lemma 2, on random distributions, and at its limit."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        policy, other = rng.dirichlet(np.full(4, 0.3), 2) + 1e-9
        policy, other = policy / policy.sum(), other / other.sum()
        hellinger = ((np.sqrt(policy) - np.sqrt(other)) ** 2).sum()
        assert kl(policy, other) <= hellinger_to_kl(float((policy / other).max())) * hellinger + 1e-12
    assert hellinger_to_kl(1.0) == 2.0
    assert hellinger_to_kl(1.0001) == pytest.approx(2.0, abs=1e-3)
    rare = 1e-7  # nearly all alike, and on a rare response nine times as likely: the limit is reached
    other = np.array([rare, 1 - rare])
    policy = np.array([9 * rare, 1 - 9 * rare])
    assert kl(policy, other) == pytest.approx(
        hellinger_to_kl(9.0) * ((np.sqrt(policy) - np.sqrt(other)) ** 2).sum(), rel=1e-4
    )


def test_coverage_by_hand() -> None:
    world = make_world(np.ones(1), np.array([[0.75, 0.25]]), 1.0, 1 - np.eye(2), lambda _: np.array([EDITS]))
    reference = world.problem.reference[0]
    by_hand = 0.75**2 / reference[0] + 0.25**2 / reference[1]
    assert single_policy_coverage(world.problem) == pytest.approx(by_hand)
    assert chi_distance(np.ones(1), np.array([[0.5, 0.5]]), np.array([[0.75, 0.25]])) == pytest.approx(sqrt(1 / 3))
    # One other member, the uniform policy: u = log(2/3), log 2, which differ by log 3.
    other = np.log(reference / 0.5)[None]
    members = PolicyClass(np.stack([world.problem.cost, other]), world.problem.reference, 1.0)
    edited = reference[0] / 6 + reference[1] / 2
    regret = 0.25 * log(3)  # E_π u − E_π* u
    assert members.policies[1, 0] == pytest.approx([0.5, 0.5])
    assert preference_coverage(world, members) == pytest.approx(regret**2 / (edited * log(3) ** 2))


def test_a_log_that_cannot_distinguish_a_member_from_the_optimum_gives_no_bound() -> None:
    """The user never touches anything: no pair says which response is better."""
    world = make_world(np.ones(1), np.array([[0.75, 0.25]]), 1.0, 1 - np.eye(2), lambda _: np.eye(2)[None])
    members = PolicyClass(np.array([[[0.0, 0.0]], [[0.0, 1.0]]]), world.problem.reference, 1.0)
    assert preference_coverage(world, members) == np.inf


@pytest.mark.parametrize(("attention", "exact"), [(0.4, True), (0.4, False), (0.8, False), (1.0, False)])
@pytest.mark.parametrize("divergence", [1.0, 3.0, 6.0])
def test_every_bound_is_above_what_is_measured(attention: float, exact: bool, divergence: float) -> None:
    """In at least 1 − δ of the repetitions; at the longest log only what a weak user leaves keeps SFT's up."""
    setting = LabSetting(attention, divergence, exact)
    problem, members, given = setting.world.problem, setting.members, setting.coefficients
    for n in (30, 1_000, 100_000):
        held = {"sft": 0, "dpo": 0, "rl": 0, "distance": 0}
        for seed in range(20):
            log_ = draw_lab_log(setting.world, n, np.random.default_rng([n, seed]))
            chosen = {
                "sft": (select_sft_member(members, log_), sft_bound),
                "dpo": (select_dpo_member(members, log_), dpo_bound),
                "rl": (select_rl_member(members, log_, rl_width(given, n, DELTA)), rl_bound),
            }
            learned = members.policies[chosen["sft"][0]]
            held["distance"] += problem.distance(learned, problem.optimum) <= sft_distance_bound(given, n, DELTA).value
            for name, (member, bound) in chosen.items():
                held[name] += problem.suboptimality(members.policies[member]) <= bound(given, n, DELTA).value
        assert min(held.values()) >= 19, (n, held)


def test_without_the_users_own_error_sft_would_exceed_its_bound() -> None:
    setting = LabSetting(0.4, 6.0)
    perfect = BoundCoefficients(**{**vars(setting.coefficients), "left": 0.0})
    log_ = draw_lab_log(setting.world, 100_000, np.random.default_rng(0))
    measured = setting.world.problem.suboptimality(setting.members.policies[select_sft_member(setting.members, log_)])
    assert sft_bound(perfect, 100_000, DELTA).value < measured < sft_bound(setting.coefficients, 100_000, DELTA).value


def test_dpo_needs_as_many_edits_as_the_poster_says() -> None:
    """Its ε at n = 2 C_PREF log(|Π|/δ) / (s² σ'(−V_max)² ε²) is ε."""
    slope = exp(-GIVEN.v_max) / (1 + exp(-GIVEN.v_max)) ** 2
    needed = 2 * GIVEN.c_pref * LOG / (GIVEN.scale**2 * slope**2 * 0.1**2)
    assert dpo_bound(GIVEN, round(needed), DELTA).value == pytest.approx(0.1, rel=1e-3)
