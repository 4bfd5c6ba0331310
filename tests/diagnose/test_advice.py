import math
from dataclasses import replace

import pytest

from copydesk.diagnose.advice import BETA_RANGE, LAM_RANGE, AdviceInputs, advise

STRONG = AdviceInputs(
    rows=300, edited=300, mean_cost=0.5, high_cost=1.5, consistency=1.0, covered=1.0, distinct=20, vocabulary=500,
    ess=0.05, margin_scale=10.0,
)  # fmt: skip
WEAK = replace(STRONG, rows=20_000, edited=20_000, consistency=0.3, ess=0.9)


def test_a_strong_user_and_poor_coverage_are_for_sft() -> None:
    advice = advise(STRONG)
    assert advice.method == "sft"
    size = 20 * math.log(500) + math.log(20)
    assert advice.predicted["sft"] == pytest.approx(0.1 * math.sqrt(size / 300))
    assert advice.predicted["dpo"] == pytest.approx(min(1.0, 0.4 * math.sqrt(2 * 20 * size / 300)))
    assert "SFT" in advice.reasons[0]


def test_a_weak_user_good_coverage_and_many_edits_are_for_dpo() -> None:
    advice = advise(WEAK)
    assert advice.method == "dpo"
    assert advice.predicted["sft"] > 0.7
    assert advice.predicted["dpo"] == pytest.approx(
        0.4 * math.sqrt(2 / 0.9 * (20 * math.log(500) + math.log(20)) / 20_000)
    )


def test_in_between_is_for_the_early_ensemble() -> None:
    advice = advise(replace(WEAK, consistency=0.94))
    assert advice.method == "early"
    assert advice.predicted["early"] == min(advice.predicted["sft"], advice.predicted["dpo"])


def test_even_costs_and_many_accepted_rows_are_for_rl() -> None:
    advice = advise(replace(WEAK, edited=200, consistency=0.1, mean_cost=0.9, high_cost=1.0))
    assert advice.method == "rl"


def test_edits_of_unknown_quality_are_for_the_early_ensemble() -> None:
    for unknown in (replace(WEAK, consistency=None), replace(WEAK, covered=0.05, distinct=1)):
        advice = advise(unknown)
        assert advice.method == "early"
        assert "does not show how good" in advice.reasons[0]
        assert any("not measured" in reason for reason in advice.reasons)


def test_an_assumed_quality_is_not_presented_as_measured() -> None:
    advice = advise(replace(STRONG, consistency=None, ess=0.001))
    assert advice.predicted["sft"] < advice.predicted["dpo"]
    assert "which was not measured" in advice.reasons[-1]


def test_second_edits_are_better_evidence_than_consistency() -> None:
    facts = replace(STRONG, consistency=0.1, reedit_rows=20, reedit_left=0.02)
    assert advise(facts).method == "sft"
    assert advise(replace(facts, reedit_rows=19)).predicted["sft"] > 0.9


def test_nearly_identical_pairs_are_not_for_dpo_alone() -> None:
    advice = advise(replace(WEAK, near_identical=0.5))
    assert advice.method == "early"
    assert "nearly identical" in advice.reasons[0]


def test_without_a_model_the_reasons_state_the_assumed_coverage() -> None:
    advice = advise(replace(WEAK, ess=None, margin_scale=None))
    assert advice.predicted["dpo"] < advise(WEAK).predicted["dpo"]
    assert advice.beta == 0.1
    assert any("C = 1 is assumed" in reason for reason in advice.reasons)


def test_changes_outside_common_rewrites_increase_the_size_to_learn() -> None:
    assert advise(replace(WEAK, covered=0.3)).predicted["dpo"] > 1.5 * advise(WEAK).predicted["dpo"]


def test_lambda_grows_with_trust_in_supervision() -> None:
    assert LAM_RANGE[0] < advise(WEAK).lam < 0.1 < advise(STRONG).lam < LAM_RANGE[1]


@pytest.mark.parametrize(("scale", "beta"), [(0.1, BETA_RANGE[1]), (1e4, BETA_RANGE[0]), (10.0, 0.2887)])
def test_beta_keeps_margins_where_pairs_have_a_gradient(scale: float, beta: float) -> None:
    advice = advise(replace(WEAK, margin_scale=scale))
    assert advice.beta == pytest.approx(beta, abs=1e-4)
    if scale == 10.0:
        likely = 1 / (1 + math.exp(-advice.beta * scale))
        assert likely * (1 - likely) == pytest.approx(0.05)


def test_more_edits_halve_what_dpo_leaves() -> None:
    advice = advise(WEAK)
    assert advice.more_edits == 60_000
    more = advise(replace(WEAK, rows=80_000, edited=80_000))
    assert more.predicted["dpo"] == pytest.approx(advice.predicted["dpo"] / 2)


def test_more_edits_help_sft_until_the_users_own_error_dominates() -> None:
    facts = replace(STRONG, rows=50, edited=40, consistency=0.98)
    advice = advise(facts)
    assert advice.method == "sft"
    rows = 50 + advice.more_edits / 0.8
    size = 20 * math.log(500) + math.log(20)
    assert 0.1 * math.sqrt(size / rows) == pytest.approx(0.02, rel=0.01)
    enough = advise(replace(STRONG, consistency=0.8, ess=0.001))
    assert enough.more_edits == 0
    assert "hardly help" in enough.reasons[-1]


def test_every_figure_has_its_formula_and_its_numbers() -> None:
    for facts in (STRONG, WEAK, AdviceInputs(rows=1, edited=1, mean_cost=0.0, high_cost=0.0)):
        advice = advise(facts)
        values = [formula.value for formula in advice.formulas]
        shown = [*(advice.predicted[name] for name in ("sft", "dpo", "rl")), advice.lam, advice.beta]
        assert all(figure in values for figure in [*shown, advice.more_edits])
        assert all(formula.formula and formula.numbers for formula in advice.formulas)
        assert all(0 <= left <= 1 for left in advice.predicted.values())
