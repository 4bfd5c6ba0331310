"""Summarizing rounds as results.json."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from copydesk.errors import InputError
from copydesk.report.results import CostReduction, compute_cost_reduction, summarize_rounds
from copydesk.report.rounds import list_arms

MakeRounds = Callable[..., list[dict[str, Any]]]


def played(method: str, cost: float, *, seed: int = 0, column: str = "email/strong", **more: Any) -> dict[str, Any]:
    task, user = column.split("/")
    return {
        "seed": seed, "t": 1, "task": task, "user": user, "method": method, "policy": method, "propensity": 1.0,
        "kind": "note", "context": "x", "response": "y", "edit": "y" if cost == 0 else "z", "cost": cost, **more,
    }  # fmt: skip


def test_a_cell_is_the_mean_and_the_sample_deviation_over_seeds() -> None:
    rounds = [
        played("sft", cost, seed=seed) for seed, costs in {7: (0.1, 0.3), 2: (0.4, 0.4)}.items() for cost in costs
    ]
    cell = summarize_rounds(rounds, {}, {})["cells"]["email/strong"]["sft"]
    assert cell["per_seed"] == pytest.approx([0.4, 0.2])  # seed 2, then seed 7
    assert cell["mean"] == pytest.approx(0.3)
    assert cell["std"] == pytest.approx(0.2 / math.sqrt(2))
    assert cell["rounds"] == 4


def test_one_seed_has_no_spread() -> None:
    cell = summarize_rounds([played("sft", 0.5)], {}, {})["cells"]["email/strong"]["sft"]
    assert (cell["std"], cell["per_seed"]) == (0.0, [0.5])


def test_max_subopt_is_taken_per_seed_over_columns_then_averaged() -> None:
    costs = {  # (column, seed): base, sft
        ("email/strong", 0): (0.5, 0.2),
        ("email/weak", 0): (0.3, 0.4),
        ("email/strong", 1): (0.9, 0.2),
        ("email/weak", 1): (0.3, 0.3),
    }
    rounds = [
        played(method, cost, seed=seed, column=column)
        for (column, seed), pair in costs.items()
        for method, cost in zip(("base", "sft"), pair, strict=True)
    ]
    results = summarize_rounds(rounds, {}, {})
    assert results["columns"] == ["email/strong", "email/weak"]
    assert results["max_subopt"]["base"]["per_seed"] == pytest.approx([0.3, 0.7])
    assert results["max_subopt"]["base"]["mean"] == pytest.approx(0.5)
    assert results["max_subopt"]["base"]["std"] == pytest.approx(0.4 / math.sqrt(2))
    assert results["max_subopt"]["sft"]["per_seed"] == pytest.approx([0.1, 0.0])


def test_max_subopt_is_over_plain_columns() -> None:
    rounds = [played("base", 0.5), played("sft", 0.2)]
    rounds += [played("base", 0.1, column="email/strong-to-weak"), played("sft", 0.9, column="email/strong-to-weak")]
    assert summarize_rounds(rounds, {}, {})["max_subopt"]["sft"]["mean"] == 0.0


def test_shifted_users_bring_max_subopt_over_all_columns() -> None:
    shift = "email/strong-to-weak"
    rounds = [played("sft", 0.2), played("dpo", 0.5), played("late", 0.3, policy="sft")]
    rounds += [played("sft", 0.9, column=shift), played("dpo", 0.4, column=shift)]
    rounds += [
        played("late", 0.5, column=shift, policy="dpo"),
        played("late-thompson", 0.1, column=shift, policy="dpo"),
    ]
    results = summarize_rounds([*rounds, played("sft", 0.0, column="email/p0.5")], {}, {})
    wide = {method: cell["mean"] for method, cell in results["max_subopt_all"].items()}
    assert wide == {"sft": pytest.approx(0.5), "dpo": pytest.approx(0.3), "late": pytest.approx(0.1)}
    assert results["robustness_all"]["late"]["mean"] == pytest.approx(1 / 3)
    assert not {"max_subopt_all", "robustness_all"} & set(summarize_rounds(rounds[:3], {}, {}))


def test_regret_and_robustness_need_methods_to_compute_them_from() -> None:
    alone = [played("sft", 0.5), played("dpo", 0.2), played("sft", 0.3, column="a/b"), played("dpo", 0.4, column="a/b")]
    assert not {"regret", "robustness"} & set(summarize_rounds(alone, {}, {}))
    late = [played("late", 0.3, policy="dpo"), played("late", 0.35, column="a/b", policy="sft")]
    results = json.loads(json.dumps(summarize_rounds(alone + late, {}, {}), allow_nan=False))
    assert results["regret"]["email/strong"]["late"]["regret"]["mean"] == pytest.approx(0.1)
    assert results["regret"]["a/b"]["late"]["best"] == ["sft"]
    assert results["robustness"]["late"]["mean"] == pytest.approx(1.0)  # 0.1 here, and 0.1 there with DPO


def test_the_document_has_the_agreed_shape_and_is_json(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(["email/strong", "email/weak"], [0, 1], 30)
    results = json.loads(json.dumps(summarize_rounds(iter(rounds), {"rounds": 30}, {"total": 1.5}), allow_nan=False))
    assert list(results) == ["settings", "columns", "methods", "cells", "max_subopt", "regret", "seconds"]
    assert results["settings"] == {"rounds": 30}
    assert results["seconds"] == {"total": 1.5}
    assert results["methods"] == ["base", "sft", "dpo", "early", "late"]
    assert list(results["cells"]) == results["columns"] == ["email/strong", "email/weak"]
    for column in results["cells"].values():
        assert list(column) == list(results["max_subopt"]) == results["methods"]
        for cell in column.values():
            assert len(cell["per_seed"]) == 2
            assert cell["rounds"] == 60


def test_other_measures_are_averaged_over_rounds_that_have_them() -> None:
    rounds = [
        played("sft", 0.0, malformed=False, facts=1.0, length=10),
        played("sft", 0.5, malformed=True, facts=0.5, length=20),
        played("dpo", 0.5, taste="brief"),
    ]
    cells = summarize_rounds(rounds, {}, {})["cells"]["email/strong"]
    sft = {name: cells["sft"][name] for name in ("malformed", "facts", "length", "accepted")}
    assert sft == {"malformed": 0.5, "facts": 0.75, "length": 15.0, "accepted": 0.5}
    assert not {"malformed", "facts", "length", "distance", "taste"} & set(cells["dpo"])
    assert cells["dpo"]["accepted"] == 0.0  # known from response and edit alone


def test_methods_are_in_the_order_of_the_tables_with_unknown_ones_last() -> None:
    rounds = [played(method, 0.1) for method in ("late", "mine", "dpo", "base")]
    assert summarize_rounds(rounds, {}, {})["methods"] == ["base", "dpo", "late", "mine"]


def test_arms_are_named_by_the_method_of_their_policy() -> None:
    late = [played("late", 0.1, policy=policy) for policy in ("other", "run-dpo", "run-sft")]
    alone = [played("sft", 0.1, policy="run-sft"), played("dpo", 0.1, policy="run-dpo")]
    assert list(list_arms(late + alone).items()) == [("run-sft", "sft"), ("run-dpo", "dpo"), ("other", "other")]


@pytest.mark.parametrize("cost", [math.nan, math.inf, None, "0.1", True])
def test_a_cost_that_is_not_a_finite_number_is_an_error(cost: Any) -> None:
    with pytest.raises(InputError, match="round 2, field cost"):
        summarize_rounds([played("sft", 0.1), {**played("sft", 0.1), "cost": cost}], {}, {})


def test_a_missing_field_is_an_error() -> None:
    broken = played("sft", 0.1)
    del broken["kind"], broken["edit"]
    with pytest.raises(InputError, match="round 1 lacks kind, edit"):
        summarize_rounds([broken], {}, {})


def test_no_rounds_are_an_error() -> None:
    with pytest.raises(InputError, match="no rounds"):
        summarize_rounds([], {}, {})


class TestSaving:
    def test_it_is_the_late_ensembles_even_when_another_was_better(self) -> None:
        results = summarize_rounds([played("base", 0.8), played("sft", 0.1), played("late", 0.2)], {}, {})
        assert compute_cost_reduction(results) == CostReduction("late", "base", 0.8, 0.2)
        assert compute_cost_reduction(results, "sft") == CostReduction("sft", "base", 0.8, 0.1)

    def test_without_a_late_ensemble_it_is_the_best_methods(self) -> None:
        assert compute_cost_reduction(
            summarize_rounds([played("base", 0.8), played("dpo", 0.3), played("sft", 0.1)], {}, {})
        ) == CostReduction("sft", "base", 0.8, 0.1)

    def test_it_is_averaged_over_the_columns_both_played_in(self) -> None:
        rounds = [played("base", 0.8), played("late", 0.2)]
        rounds += [played("base", 0.4, column="email/weak"), played("late", 0.4, column="email/weak")]
        rounds += [played("base", 9.0, column="summarization/weak")]
        found = compute_cost_reduction(summarize_rounds(rounds, {}, {}))
        assert found is not None
        assert (found.before, found.after) == pytest.approx((0.6, 0.3))

    def test_plain_columns_decide_where_there_are_any(self) -> None:
        rounds = [played("base", 0.8), played("late", 0.2)]
        shifted = [played("base", 0.1, column="email/p0.5"), played("late", 0.3, column="email/p0.5")]
        assert compute_cost_reduction(summarize_rounds(rounds + shifted, {}, {})) == CostReduction(
            "late", "base", 0.8, 0.2
        )
        assert compute_cost_reduction(summarize_rounds(shifted, {}, {})) == CostReduction("late", "base", 0.1, 0.3)

    def test_another_late_ensemble_stands_in_and_the_oracle_never(self) -> None:
        rounds = [played("base", 0.8), played("oracle", 0.0), played("sft", 0.1), played("late-thompson", 0.2)]
        assert compute_cost_reduction(summarize_rounds(rounds, {}, {})) == CostReduction(
            "late-thompson", "base", 0.8, 0.2
        )
        assert compute_cost_reduction(summarize_rounds(rounds[:3], {}, {})) == CostReduction("sft", "base", 0.8, 0.1)

    @pytest.mark.parametrize("methods", [["base"], ["sft", "late"]])
    def test_there_is_none_without_both_sides(self, methods: list[str]) -> None:
        assert compute_cost_reduction(summarize_rounds([played(method, 0.1) for method in methods], {}, {})) is None

    @pytest.mark.parametrize(
        ("before", "after", "words"),
        [
            (1.0, 0.37, "a simulated user edits 63% less than before"),
            (0.5, 0.6, "a simulated user edits 20% more than before"),
            (0.5, 0.5001, "a simulated user edits as much as before"),
            (0.5, 0.0, "a simulated user edits nothing any more"),
            (0.5, 0.0001, "a simulated user edits almost nothing now"),
            (0.0, 0.0, "nobody edited anything, before or after"),
            (0.0, 0.2, "a simulated user edits now, and did not before"),
            (0.2, 0.4, "a simulated user edits 100% more than before"),
        ],
    )
    def test_words(self, before: float, after: float, words: str) -> None:
        assert CostReduction("late", "base", before, after).description == words
