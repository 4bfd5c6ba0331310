"""Regret of late ensembles against the best single arm."""

from collections.abc import Callable
from typing import Any

import pytest

from copydesk.report.metrics import compute_regrets, summarize_regrets

MakeRound = Callable[..., dict[str, Any]]


def rounds_of(make_round: MakeRound, costs: dict[str, list[float]], **more: Any) -> list[dict[str, Any]]:
    return [make_round(m, cost, t=t, **more) for m, own in costs.items() for t, cost in enumerate(own, start=1)]


def late_rounds(make_round: MakeRound, pulls: list[tuple[str, float]], method: str = "late", **more: Any) -> list[Any]:
    return [make_round(method, cost, t=t, policy=policy, **more) for t, (policy, cost) in enumerate(pulls, start=1)]


def test_regret_is_against_the_best_single_arm_in_hindsight(make_round: MakeRound) -> None:
    alone = {"base": [0.0, 0.0, 0.0], "sft": [0.5, 0.5, 0.5], "dpo": [0.1, 0.9, 0.2]}
    rounds = rounds_of(make_round, alone)
    rounds += late_rounds(make_round, [("sft", 0.5), ("dpo", 0.9), ("dpo", 0.2)])
    [regret] = compute_regrets(reversed(rounds))["late"]
    assert regret.best == "dpo"  # base is cheaper, and no arm
    assert regret.total == pytest.approx(0.4)
    assert regret.ratio == pytest.approx(1.6 / 1.2)
    assert regret.curve == pytest.approx([0.4, 0.4, 0.4])


def test_regret_is_negative_if_switching_pays_off(make_round: MakeRound) -> None:
    rounds = rounds_of(make_round, {"sft": [0.1, 0.9], "dpo": [0.9, 0.2]})
    rounds += late_rounds(make_round, [("sft", 0.1), ("dpo", 0.2)])
    [regret] = compute_regrets(rounds)["late"]
    assert (regret.best, regret.total) == ("sft", pytest.approx(-0.7))


def test_rules_share_arms_and_seeds_do_not(make_round: MakeRound) -> None:
    rounds = []
    for seed, (sft, dpo) in {3: (0.4, 0.2), 1: (0.1, 0.5)}.items():
        rounds += rounds_of(make_round, {"sft": [sft, sft], "dpo": [dpo, dpo]}, seed=seed)
        rounds += late_rounds(make_round, [("sft", sft), ("dpo", dpo)], seed=seed)
        rounds += late_rounds(make_round, [("sft", sft), ("sft", sft)], "late-thompson", seed=seed)
    cells = summarize_regrets(rounds)["email/strong"]
    assert cells["late"]["regret"]["per_seed"] == pytest.approx([0.4, 0.2])  # seed 1, then seed 3
    assert cells["late"]["regret"]["mean"] == pytest.approx(0.3)
    assert cells["late"]["best"] == ["sft", "dpo"]
    assert cells["late"]["best_total"]["per_seed"] == pytest.approx([0.2, 0.4])
    assert cells["late"]["ratio"]["per_seed"] == pytest.approx([3.0, 1.5])
    assert cells["late-thompson"]["regret"]["per_seed"] == pytest.approx([0.0, 0.4])


def test_an_arm_must_have_played_the_same_rounds(make_round: MakeRound) -> None:
    rounds = rounds_of(make_round, {"sft": [0.5, 0.5], "dpo": [0.1]})
    rounds += late_rounds(make_round, [("sft", 0.5), ("dpo", 0.6)])
    assert compute_regrets(rounds)["late"][0].best == "sft"


def test_an_arm_is_named_by_the_method_of_its_policy(make_round: MakeRound) -> None:
    rounds = [make_round("sft", 0.2, policy="run-7"), make_round("late", 0.2, policy="run-7")]
    assert compute_regrets(rounds)["late"][0].best == "sft"


def test_there_is_no_regret_without_an_arm_that_played_alone(make_round: MakeRound) -> None:
    assert summarize_regrets([make_round("late", 0.2, policy="sft"), make_round("base", 0.5)]) == {}
    assert summarize_regrets([make_round("sft", 0.2), make_round("base", 0.5)]) == {}


def test_an_arm_that_costs_nothing_has_no_ratio(make_round: MakeRound) -> None:
    [cell] = summarize_regrets([make_round("sft", 0.0), make_round("late", 0.0, policy="sft")])["email/strong"].values()
    assert "ratio" not in cell
    assert cell["regret"]["mean"] == 0.0
