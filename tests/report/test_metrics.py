"""Max SubOpt and robustness."""

import math
from collections.abc import Mapping

import pytest

from copydesk.report.columns import filter_main_scenarios, filter_unswept_scenarios
from copydesk.report.metrics import SeedCosts, average_max_subopt, compute_robustness
from copydesk.report.metrics import compute_largest_gaps as gaps_over


def largest_gaps(costs: SeedCosts) -> Mapping[str, Mapping[int, float]]:
    return gaps_over(costs, filter_main_scenarios(column for column, _ in costs))


def test_shifts_and_sweeps_do_not_count_beside_plain_columns() -> None:
    costs = {
        ("email/strong", "sft"): {0: 0.2},
        ("email/strong", "dpo"): {0: 0.5},
        ("email/strong-to-weak", "sft"): {0: 9.0},
        ("email/strong-to-weak", "dpo"): {0: 0.1},
        ("email/p0.1", "sft"): {0: 7.0},
        ("email/p0.1", "dpo"): {0: 0.1},
    }
    assert largest_gaps(costs) == {"sft": {0: 0.0}, "dpo": {0: pytest.approx(0.3)}}
    others = {place: by_seed for place, by_seed in costs.items() if place[0] != "email/strong"}
    assert largest_gaps(others)["sft"] == {0: pytest.approx(8.9)}
    table = filter_unswept_scenarios(dict.fromkeys(column for column, _ in costs))
    assert table == ["email/strong", "email/strong-to-weak"]
    assert gaps_over(costs, table)["sft"] == {0: pytest.approx(8.9)}


def test_a_method_that_missed_a_column_is_left_out() -> None:
    costs = {("a/x", "sft"): {0: 0.2}, ("a/y", "sft"): {0: 0.2}, ("a/y", "cipher-5"): {0: 0.1}}
    assert largest_gaps(costs) == {"sft": {0: 0.0}}


def test_others_are_not_compared_with_the_oracle() -> None:
    costs = {("a/x", "sft"): {0: 0.3}, ("a/x", "dpo"): {0: 0.4}, ("a/x", "oracle"): {0: 0.0}}
    assert largest_gaps(costs) == {"sft": {0: 0.0}, "dpo": {0: pytest.approx(0.1)}, "oracle": {0: 0.0}}


def test_robustness_is_a_ratio_per_seed_to_the_best_single_feedback_method() -> None:
    gaps = {"sft": {1: 0.4, 0: 0.2}, "dpo": {0: 0.5, 1: 0.1}, "early": {0: 0.1, 1: 0.2}, "base": {0: 0.01, 1: 0.01}}
    found = compute_robustness(gaps)
    assert list(found) == ["early"]
    assert found["early"]["per_seed"] == pytest.approx([0.5, 2.0])
    assert found["early"]["mean"] == pytest.approx(1.25)
    assert found["early"]["std"] == pytest.approx(1.5 / math.sqrt(2))


@pytest.mark.parametrize(
    "gaps",
    [
        {"early": {0: 0.1}, "base": {0: 0.5}},  # no single feedback
        {"sft": {0: 0.2}, "late": {0: 0.1, 1: 0.1}},  # other seeds
        {"sft": {0: 0.0}, "late": {0: 0.1}},  # the single feedback is the best everywhere
        {"sft": {0: 0.5}, "dpo": {0: 0.4}},  # no ensemble
    ],
)
def test_robustness_needs_an_ensemble_and_a_single_feedback_method(gaps: dict[str, dict[int, float]]) -> None:
    assert compute_robustness(gaps) == {}


def test_max_subopt_is_averaged_over_seeds() -> None:
    found = average_max_subopt({"sft": {5: 0.3, 2: 0.1}})["sft"]
    assert found["per_seed"] == [0.1, 0.3]
    assert found["mean"] == pytest.approx(0.2)
