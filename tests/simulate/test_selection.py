import math
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.errors import InputError
from copydesk.simulate.held_out import HeldOutMetrics
from copydesk.simulate.selection import (
    GATE_TOLERANCE,
    SELECTION_RULES,
    Candidate,
    Correlation,
    compute_correlation,
)

FINE = HeldOutMetrics(
    unfixed=0.5,
    unknown_bigrams=0.02,
    strange=0.05,
    strange_edits=0.05,
    repetition=0.0,
    log_loss=20.0,
    log_loss_per_token=0.5,
    changed_log_loss=9.0,
    changed_log_loss_per_token=1.5,
)


def candidate(name: str, **changes: float) -> Candidate:
    """One measured on a strong and a weak user's log alike."""
    metrics = replace(FINE, **changes)
    return Candidate(name, {}, {"strong": metrics, "weak": metrics})


# As in simulations with a weak user: one copies what the user left alone, one fixes, one leaves the grammar.
COPIES = candidate("copies", log_loss=5.0, changed_log_loss=8.0, unfixed=0.6)
FIXES = candidate("fixes", log_loss=9.0, changed_log_loss=4.0, unfixed=0.2)
MALFORMED = candidate("malformed", log_loss=30.0, changed_log_loss=6.0, unfixed=0.1, strange=0.5)
REPEATS = candidate("repeats", log_loss=31.0, changed_log_loss=7.0, unfixed=0.05, repetition=0.3)


def chosen(rule: str, *candidates: Candidate) -> str:
    return SELECTION_RULES[rule].choose(candidates).name


@pytest.mark.parametrize(
    ("rule", "name"), [("log-loss", "copies"), ("changed-log-loss", "fixes"), ("unfixed", "fixes")]
)
def test_the_log_loss_chooses_copying_and_the_other_rules_do_not(rule: str, name: str) -> None:
    assert chosen(rule, COPIES, FIXES) == name


def test_the_gate_leaves_out_what_is_strange_or_repeats_itself() -> None:
    assert chosen("unfixed", MALFORMED, COPIES, REPEATS, FIXES) == "fixes"
    assert chosen("unfixed", MALFORMED, COPIES) == "copies"


def test_the_gate_is_relative_to_the_held_out_edits() -> None:
    within = candidate("within", unfixed=0.1, strange=0.04 + GATE_TOLERANCE, strange_edits=0.05)
    beyond = candidate("beyond", unfixed=0.0, strange=0.06 + GATE_TOLERANCE, strange_edits=0.05)
    assert chosen("unfixed", COPIES, within, beyond) == "within"


def test_the_gate_is_closed_by_one_log_and_the_metric_is_a_mean_over_logs() -> None:
    fixed = replace(FINE, unfixed=0.0)
    half = Candidate("half", {}, {"strong": fixed, "weak": replace(fixed, strange=0.2)})
    assert half.malformed_excess == pytest.approx(0.15)
    assert chosen("unfixed", half, FIXES) == "fixes"
    mixed = Candidate("mixed", {}, {"strong": fixed, "weak": replace(FINE, unfixed=0.3)})
    assert mixed.compute_mean("unfixed") == pytest.approx(0.15)
    assert chosen("unfixed", FIXES, mixed) == "mixed"


def test_if_none_passes_the_gate_the_least_malformed_is_chosen() -> None:
    assert chosen("unfixed", MALFORMED, REPEATS) == "repeats"


def test_the_tolerance_can_be_set() -> None:
    assert SELECTION_RULES["unfixed"].choose([REPEATS, FIXES], tolerance=0.3).name == "repeats"


@pytest.mark.parametrize("rule", SELECTION_RULES)
def test_of_equal_candidates_the_first_is_chosen(rule: str) -> None:
    assert chosen(rule, candidate("one"), candidate("two")) == "one"
    assert chosen(rule, candidate("two"), candidate("one")) == "two"


@pytest.mark.parametrize("rule", ["log-loss", "changed-log-loss"])
def test_a_setting_whose_training_diverged_is_not_chosen(rule: str) -> None:
    diverged = candidate("diverged", log_loss=math.nan, changed_log_loss=math.nan)
    assert chosen(rule, diverged, COPIES) == "copies"


@pytest.mark.parametrize("rule", SELECTION_RULES)
def test_nothing_can_be_chosen_from_nothing(rule: str) -> None:
    with pytest.raises(InputError, match="no candidates"):
        SELECTION_RULES[rule].choose([])


def test_rules_name_metrics_that_exist() -> None:
    assert {rule.metric for rule in SELECTION_RULES.values()} <= {field.name for field in fields(HeldOutMetrics)}


def test_correlations_are_those_of_values_and_of_ranks() -> None:
    found = compute_correlation([1.0, 2.0, 3.0, 100.0], [0.1, 0.2, 0.3, 0.4])
    assert found.spearman == pytest.approx(1.0)
    assert found.pearson == pytest.approx(np.corrcoef([1, 2, 3, 100], [0.1, 0.2, 0.3, 0.4])[0, 1])
    assert compute_correlation([3.0, 2.0, 1.0], [0.1, 0.2, 0.9]).spearman == pytest.approx(-1.0)
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
    tied = compute_correlation([1.0, 5.0, 5.0, 7.0], [0.1, 0.2, 0.3, 0.4]).spearman
    assert tied == pytest.approx(np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2))
def test_a_correlation_is_between_minus_one_and_one_and_changes_sign_with_the_metric(
    pairs: list[tuple[int, int]],
) -> None:
    values, costs = [float(value) for value, _ in pairs], [float(cost) for _, cost in pairs]
    found = compute_correlation(values, costs)
    negated = compute_correlation([-value for value in values], costs)
    for one, other in ((found.spearman, negated.spearman), (found.pearson, negated.pearson)):
        if one is None:
            assert other is None
        else:
            assert -1 - 1e-9 <= one <= 1 + 1e-9 and other == pytest.approx(-one)


def test_a_constant_has_no_correlation_and_an_infinite_value_only_a_rank() -> None:
    assert compute_correlation([1.0, 1.0], [0.1, 0.2]) == Correlation(None, None)
    assert compute_correlation([1.0, 2.0], [0.1, 0.1]) == Correlation(None, None)
    found = compute_correlation([1.0, 2.0, math.inf], [0.1, 0.2, 0.3])
    assert found.spearman == pytest.approx(1.0) and found.pearson is None


def test_the_rules_need_no_torch() -> None:
    code = "import sys, copydesk.simulate.selection; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
