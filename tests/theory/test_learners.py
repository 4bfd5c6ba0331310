from math import log

import numpy as np
import pytest
from tests.support.lab_logs import expected_log

from copydesk.theory.lab import LabSetting
from copydesk.theory.learners import (
    LabLog,
    compute_dpo_scores,
    compute_sft_scores,
    draw_lab_log,
    select_dpo_member,
    select_early_member,
    select_rl_member,
    select_sft_member,
)
from copydesk.theory.policy_classes import PolicyClass, build_policy_class

HALVES = np.array([[0.5, 0.5]])
DISTANCE = np.array([[0.0, 1.0], [1.0, 0.0]])
# exp(−f/β) with β = 1: the second response is a third, as much, and three times as likely.
COSTS = np.array([[[0.0, log(3)]], [[0.0, 0.0]], [[log(3), 0.0]]])
CLASS = PolicyClass(COSTS, HALVES, 1.0)


def log_of(*triples: tuple[int, int]) -> LabLog:
    counts = np.zeros((1, 2, 2), dtype=np.int64)
    for response, edit in triples:
        counts[0, response, edit] += 1
    return LabLog(counts, DISTANCE)


def test_scores_by_hand() -> None:
    log_ = log_of((1, 0), (1, 0), (0, 1), (0, 0))
    assert CLASS.policies[0, 0] == pytest.approx([0.75, 0.25])
    assert compute_sft_scores(CLASS, log_)[0] == pytest.approx((3 * log(0.75) + log(0.25)) / 4)
    # σ(log 3) = 3/4 where b became a, σ(−log 3) = 1/4 where a became b, σ(0) where a stayed.
    assert compute_dpo_scores(CLASS, log_)[0] == pytest.approx((2 * log(0.75) + log(0.25) + log(0.5)) / 4)
    assert compute_dpo_scores(CLASS, log_)[1] == pytest.approx(log(0.5))


def test_each_learner_selects_the_member_with_the_best_loss() -> None:
    kept = log_of((1, 1), (1, 1), (1, 1), (1, 0))
    assert select_sft_member(CLASS, kept) == 2  # b was what people left most often
    assert select_dpo_member(CLASS, kept) == 0  # but the only edit was away from it
    assert select_early_member(CLASS, kept, 0.0) == 0
    assert select_early_member(CLASS, kept, 100.0) == 2


def test_rl_is_pessimistic_about_functions_that_the_log_allows() -> None:
    """Costs of 0 and 1, or of 0.8 and 0: a log in which all kept the first rules out the second if it is strict."""
    members = PolicyClass(np.array([[[0.0, 1.0]], [[0.8, 0.0]]]), HALVES, 0.1)
    log_ = log_of((0, 0), (0, 0))
    assert select_rl_member(members, log_, 0.0) == 0
    assert select_rl_member(members, log_, 0.63) == 0
    # With both allowed the worst case of either: 1 for leaning to b, 0.8 for leaning to a.
    assert select_rl_member(members, log_, 0.65) == 0
    swapped = PolicyClass(np.array([[[0.0, 0.8]], [[1.0, 0.0]]]), HALVES, 0.1)
    assert select_rl_member(swapped, log_, 0.0) == 0
    assert select_rl_member(swapped, log_, 1.01) == 1


@pytest.mark.parametrize("attention", [0.4, 0.8, 1.0])
def test_dpo_finds_the_optimum_with_any_user_and_sft_only_with_a_strong_one(attention: float) -> None:
    setting = LabSetting(attention, 3.0)
    log_ = expected_log(setting)
    assert select_dpo_member(setting.members, log_) == 0
    learned = setting.members.policies[select_sft_member(setting.members, log_)]
    assert learned == pytest.approx(setting.world.edited_distribution)
    assert (setting.world.problem.distance(learned, setting.optimum) < 1e-9) == (attention == 1)


def test_dpo_with_another_scale_converges_as_lemma_3_says() -> None:
    """π ∝ π_ref (π*/π_ref)^(1/s): with s = 2 the policy of costs c/2."""
    setting = LabSetting(0.8, 3.0)
    members = setting.members
    doubled = PolicyClass(members.costs, members.reference, members.beta, scale=2.0)
    chosen = select_dpo_member(doubled, expected_log(setting))
    assert members.costs[chosen] == pytest.approx(setting.world.problem.cost / 2)


def test_dpo_comes_closer_as_the_log_grows() -> None:
    setting = LabSetting(0.4, 4.0)
    means = []
    for n in (30, 1_000, 30_000):
        logs = [draw_lab_log(setting.world, n, np.random.default_rng([n, seed])) for seed in range(20)]
        chosen = [setting.members.policies[select_dpo_member(setting.members, log_)] for log_ in logs]
        means.append(np.mean([setting.world.problem.suboptimality(policy) for policy in chosen]))
    assert means[0] > 4 * means[1] > 16 * means[2]


def test_the_class_holds_the_truth_first_and_stays_within_the_largest_cost() -> None:
    setting = LabSetting(0.4, 2.0, exact=True)
    world = setting.world
    assert setting.members.size == 101
    assert setting.members.policies[0] == pytest.approx(world.problem.optimum)
    assert setting.members.policies[1] == pytest.approx(world.problem.reference)
    largest = setting.coefficients.c_max
    assert largest == 0.4  # two of five preferences
    assert setting.members.policies[10] == pytest.approx(world.edited_distribution)
    assert 0 <= setting.members.costs.min() <= setting.members.costs.max() <= largest
    capped = build_policy_class(world, np.zeros((1, 4, 32)), 0.9 * world.problem.cost.max())
    assert capped.costs[9].max() == pytest.approx(0.9 * world.problem.cost.max())


def test_logs_are_drawn_by_the_protocol_and_add_up() -> None:
    setting = LabSetting(0.8, 3.0)
    rng = np.random.default_rng(0)
    log_ = draw_lab_log(setting.world, 1_000, rng) + draw_lab_log(setting.world, 199_000, rng)
    assert log_.n == 200_000
    assert log_.contexts == pytest.approx(setting.world.problem.contexts, abs=0.005)
    shares = log_.edit_counts / log_.edit_counts.sum(axis=1, keepdims=True)
    assert np.abs(shares - setting.world.edited_distribution).max() < 0.02
