"""UCB against Algorithm 1 of arXiv 2601.19055, written down a second time."""

import math

import numpy as np
import pytest

from copydesk.ensemble import ArmState, LateEnsemble, Ucb
from copydesk.errors import InputError

MEANS = np.array([0.55, 0.30, 0.70, 0.42])
ROUNDS = 3000


def algorithm_1(costs: np.ndarray, alpha: float) -> list[int]:
    """The paper's pseudo-code over a table of costs (rounds x arms)."""
    arms = costs.shape[1]
    total, count = np.zeros(arms), np.zeros(arms)
    chosen = []
    for t, row in enumerate(costs, start=1):
        arm = t - 1 if t <= arms else int(np.argmin(total / count - alpha * np.sqrt(math.log(t) / count)))
        total[arm] += row[arm]
        count[arm] += 1
        chosen.append(arm)
    return chosen


def cost_table(seed: int) -> np.ndarray:
    """Costs like those of edits: an atom at 0 (accepted), else a spread around the arm's mean."""
    rng = np.random.default_rng(seed)
    costs = rng.gamma(4.0, MEANS / (4 * 0.7), size=(ROUNDS, len(MEANS)))
    return costs * (rng.random(costs.shape) < 0.7)


def live_choices(costs: np.ndarray, alpha: float, delay: int = 0) -> list[int]:
    ensemble = LateEnsemble([str(i) for i in range(costs.shape[1])], Ucb(alpha))
    chosen, waiting = [], []
    for row in costs:
        pull = ensemble.choose()
        chosen.append(int(pull.arm))
        waiting.append((pull, row[chosen[-1]]))
        if len(waiting) > delay:
            ensemble.update(*waiting.pop(0))
    return chosen


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_choices_are_those_of_algorithm_1(seed: int, alpha: float) -> None:
    costs = cost_table(seed)
    assert live_choices(costs, alpha) == algorithm_1(costs, alpha)


@pytest.mark.parametrize("delay", [0, 25])
def test_regret_is_sublinear_with_or_without_delay(delay: int) -> None:
    gaps = MEANS - MEANS.min()
    regret = np.mean([gaps[live_choices(cost_table(seed), alpha=0.5, delay=delay)] for seed in range(4)], axis=0)
    half = ROUNDS // 2
    assert regret[half:].mean() < gaps.mean() / 8  # uniform choice pays gaps.mean() a round
    assert regret[half:].mean() < regret[:half].mean() / 2


def test_awaited_edits_do_not_make_it_herd() -> None:
    """With no edit back yet it goes round the arms; if pending pulls did not count it would play one for ever."""
    ensemble = LateEnsemble(["a", "b", "c"])
    assert [ensemble.choose().arm for _ in range(9)] == list("abc") * 3


def choice(*arms: ArmState, alpha: float = 1.0, t: int = 50) -> int:
    return list(Ucb(alpha)(arms, t, np.random.default_rng(0))).index(1.0)


def test_a_pending_pull_narrows_the_width() -> None:
    seen = ArmState(n=5, cost_sum=2.5)
    assert choice(seen, seen) == 0
    assert choice(ArmState(n=5, pending=1, cost_sum=2.5), seen) == 1


def test_an_arm_without_costs_stands_at_the_overall_mean() -> None:
    good, bad = ArmState(n=2, cost_sum=0.2), ArmState(n=2, cost_sum=1.8)
    unknown = ArmState(pending=2)
    assert choice(bad, unknown) == 0  # the only mean there is: a tie, so the first arm
    assert choice(bad, unknown, good) == 2
    assert choice(bad, unknown, ArmState(n=200, cost_sum=160.0)) == 1  # bad and often played loses its width


def test_ties_go_to_the_first_arm() -> None:
    arm = ArmState(n=3, cost_sum=1.0)
    assert choice(arm, arm, arm) == 0


def test_without_exploration_it_is_greedy() -> None:
    assert choice(ArmState(n=1, cost_sum=0.5), ArmState(n=900, cost_sum=449.0), alpha=0.0) == 1


@pytest.mark.parametrize("alpha", [-1.0, math.nan, math.inf])
def test_alpha_out_of_range(alpha: float) -> None:
    with pytest.raises(InputError, match=r"--alpha: .* must be at least 0"):
        Ucb(alpha)
