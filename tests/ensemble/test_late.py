"""The late ensemble's bookkeeping, as properties of whole runs."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator

from copydesk.ensemble import ArmState, LateEnsemble, Pull, Ucb
from copydesk.errors import InputError

NAMES = ["sft", "dpo", "early", "rl"]
arms_of = st.integers(1, 4).map(lambda k: NAMES[:k])
costs = st.floats(0, 2, allow_nan=False)


def softmax(arms: Sequence[ArmState], t: int, rng: Generator) -> list[float]:
    """A stochastic rule, as others may be written: cheap arms more often, new ones like middling ones."""
    weights = [math.exp(-3 * (0.5 if arm.mean is None else arm.mean)) for arm in arms]
    return [weight / sum(weights) for weight in weights]


def play(ensemble: LateEnsemble, steps: list[tuple[float, int]]) -> list[Pull]:
    """Play one round a step: its cost, and how many rounds later that is reported (a delay can outlive the run)."""
    pulls, due = [], []
    for t, (cost, delay) in enumerate(steps):
        pulls.append(ensemble.choose())
        due.append((t + delay, pulls[-1], cost))
        for _, pull, observed in [item for item in due if item[0] <= t]:
            ensemble.update(pull, observed)
        due = [item for item in due if item[0] > t]
    return pulls


runs = st.lists(st.tuples(costs, st.integers(0, 6)), max_size=40)


@given(arms_of, runs)
def test_the_first_rounds_try_each_arm_once_in_order(arms: list[str], steps: list[tuple[float, int]]) -> None:
    pulls = play(LateEnsemble(arms), steps)
    assert [pull.arm for pull in pulls[: len(arms)]] == arms[: len(pulls)]


@given(arms_of, runs, st.sampled_from([Ucb(), softmax]))
def test_every_round_is_observed_or_pending(arms: list[str], steps: list[tuple[float, int]], rule) -> None:
    ensemble = LateEnsemble(arms, rule)
    pulls = play(ensemble, steps)
    states = ensemble.arms
    assert sum(state.n + state.pending for state in states.values()) == ensemble.rounds == len(steps)
    assert sum(state.pending for state in states.values()) == len(ensemble.pending)
    for arm, state in states.items():
        seen = [cost for pull, (cost, _) in zip(pulls, steps, strict=True) if pull.arm == arm]
        if not state.pending:
            assert state.cost_sum == pytest.approx(sum(seen))
            assert state.cost_sq_sum == pytest.approx(sum(cost * cost for cost in seen))


@given(arms_of, runs, st.sampled_from([Ucb(), softmax]), st.integers(0, 3))
def test_a_replayed_log_goes_on_where_the_live_ensemble_is(arms, steps, rule, seed) -> None:
    live = LateEnsemble(arms, rule, seed)
    pulls = play(live, steps)
    history = [
        (pull.arm, None if pull.id in live.pending else cost) for pull, (cost, _) in zip(pulls, steps, strict=True)
    ]
    replayed = LateEnsemble.replay(arms, history, rule, seed)
    for arm, state in live.arms.items():
        again = replayed.arms[arm]
        assert (again.n, again.pending) == (state.n, state.pending)
        assert (again.cost_sum, again.cost_sq_sum) == pytest.approx((state.cost_sum, state.cost_sq_sum))
    for pull in pulls:
        if pull.id in live.pending:
            live.update(pull, 0.25)
            replayed.update(pull, 0.25)
    assert {a: (s.n, s.pending) for a, s in live.arms.items()} == {
        a: (s.n, s.pending) for a, s in replayed.arms.items()
    }


@given(arms_of, st.lists(costs, max_size=40), st.sampled_from([Ucb(), softmax]), st.integers(0, 3))
def test_with_immediate_feedback_a_replay_is_bit_for_bit_the_same(arms, paid, rule, seed) -> None:
    live = LateEnsemble(arms, rule, seed)
    pulls = play(live, [(cost, 0) for cost in paid])
    replayed = LateEnsemble.replay(arms, [(p.arm, c) for p, c in zip(pulls, paid, strict=True)], rule, seed)
    assert replayed.arms == live.arms
    assert [replayed.choose() for _ in range(5)] == [live.choose() for _ in range(5)]


@given(st.permutations(NAMES), st.integers(0, 10_000))
def test_renaming_the_arms_renames_the_choices(order: list[str], seed: int) -> None:
    """Which place an arm has in the list matters for ties and for the first tries, and for nothing else."""
    rng = np.random.default_rng(seed)
    history = [(arm, float(rng.random())) for arm in NAMES * 5]  # continuous costs: no ties
    shuffled = [history[i] for i in rng.permutation(len(history))]
    one = LateEnsemble.replay(NAMES, history)
    other = LateEnsemble.replay(order, shuffled)
    assert one.choose().arm == other.choose().arm


@given(st.integers(0, 10_000), st.integers(1, 8))
def test_adding_a_constant_to_all_costs_changes_no_choice(seed: int, shift: int) -> None:
    table = np.random.default_rng(seed).random((60, len(NAMES)))

    def choices(extra: float, delay: int) -> list[str]:
        ensemble, chosen, waiting = LateEnsemble(NAMES), [], []
        for row in table:
            pull = ensemble.choose()
            chosen.append(pull.arm)
            waiting.append((pull, row[NAMES.index(pull.arm)] + extra))
            if len(waiting) > delay:
                ensemble.update(*waiting.pop(0))
        return chosen

    assert choices(shift, delay=0) == choices(0, delay=0)
    # Late feedback too: an arm without any cost stands at the overall mean, which shifts along.
    assert choices(shift, delay=3) == choices(0, delay=3)


@given(st.lists(costs, min_size=1, max_size=12), st.randoms())
def test_the_order_in_which_edits_come_does_not_matter(paid: list[float], random) -> None:
    one, other = LateEnsemble(NAMES), LateEnsemble(NAMES)
    due = [(one.choose(), cost) for cost in paid]
    assert [other.choose() for _ in paid] == [pull for pull, _ in due]
    for pull, cost in due:
        one.update(pull, cost)
    random.shuffle(due)
    for pull, cost in due:
        other.update(pull, cost)
    for arm in NAMES:
        assert other.arms[arm].n == one.arms[arm].n
        assert other.arms[arm].cost_sum == pytest.approx(one.arms[arm].cost_sum)
    assert not one.pending
    assert not other.pending


def test_propensities_are_those_of_the_rule() -> None:
    ensemble = LateEnsemble(NAMES, softmax, seed=3)
    chosen = []
    for _ in range(2000):
        pull = ensemble.choose()
        assert pull.propensity == pytest.approx(0.25)  # nothing observed: the rule is indifferent
        chosen.append(pull.arm)
    for arm in NAMES:
        assert chosen.count(arm) / len(chosen) == pytest.approx(0.25, abs=0.05)


def test_the_seed_fixes_a_stochastic_rule() -> None:
    def chosen(seed: int) -> list[Pull]:
        ensemble = LateEnsemble(NAMES, softmax, seed)
        return [ensemble.choose() for _ in range(30)]

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)


def test_ucb_is_certain_of_its_choice() -> None:
    ensemble = LateEnsemble(NAMES)
    assert {ensemble.choose().propensity for _ in range(20)} == {1.0}


class TestFaults:
    @pytest.mark.parametrize("arms", [[], (), "sft"])
    def test_no_arms(self, arms) -> None:
        with pytest.raises(ValueError, match="at least one arm"):
            LateEnsemble(arms)

    def test_arms_with_the_same_name(self) -> None:
        with pytest.raises(ValueError, match="more than once: dpo"):
            LateEnsemble(["sft", "dpo", "dpo"])

    @pytest.mark.parametrize("cost", [math.nan, math.inf, -math.inf, -0.01])
    def test_a_cost_that_is_none(self, cost: float) -> None:
        ensemble = LateEnsemble(NAMES)
        pull = ensemble.choose()
        before = ensemble.arms
        with pytest.raises(ValueError, match="finite number of at least 0"):
            ensemble.update(pull, cost)
        assert ensemble.arms == before
        ensemble.update(pull, 0.0)  # a refused cost leaves the pull open

    def test_a_second_cost_for_one_pull(self) -> None:
        ensemble = LateEnsemble(NAMES)
        pull = ensemble.choose()
        ensemble.update(pull, 0.5)
        with pytest.raises(ValueError, match="already has a cost"):
            ensemble.update(pull, 0.5)
        assert ensemble.arms[pull.arm] == ArmState(n=1, cost_sum=0.5, cost_sq_sum=0.25)

    @pytest.mark.parametrize("stranger", [Pull(0, "sft", 1.0), Pull(2, "sft", 1.0), Pull(1, "dpo", 1.0)])
    def test_a_pull_of_somebody_else(self, stranger: Pull) -> None:
        ensemble = LateEnsemble(NAMES)
        ensemble.choose()
        with pytest.raises(ValueError, match="not made by this ensemble"):
            ensemble.update(stranger, 0.5)

    def test_a_log_with_an_unknown_arm(self) -> None:
        with pytest.raises(InputError, match=r"round 2 .*'ppo'"):
            LateEnsemble.replay(NAMES, [("sft", 0.1), ("ppo", 0.2)])

    def test_a_log_with_a_cost_that_is_none(self) -> None:
        with pytest.raises(InputError, match=r"round 1 .*cost nan"):
            LateEnsemble.replay(NAMES, [("sft", math.nan)])

    @pytest.mark.parametrize("wrong", [[0.5, 0.5], [0.5] * 4, [1.5, -0.5, 0, 0], [math.nan] * 4])
    def test_a_rule_that_gives_no_distribution(self, wrong: list[float]) -> None:
        ensemble = LateEnsemble(NAMES, lambda arms, t, rng: wrong)
        with pytest.raises(ValueError, match="no distribution"):
            ensemble.choose()
        assert ensemble.rounds == 0
