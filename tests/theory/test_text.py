"""What a study says in words, and on a terminal."""

import io

import numpy as np
import pytest
from rich.console import Console

from copydesk.theory.experiments import Curves, Grid, LabRegret, SlopeEstimate, SlopeFit
from copydesk.theory.lab import LabSetting
from copydesk.theory.study import Study
from copydesk.theory.text import (
    FAILS,
    HOLDS,
    OPEN,
    compute_map_regrets,
    count_wins,
    describe_claim_verdicts,
    describe_winners,
    find_halving_size,
    find_significant_wins,
    format_headline,
    format_nats,
    format_ratio,
    format_setting,
    judge_claim,
    render_study_terminal,
)

SURE = SlopeEstimate(0.5, 0.4, 0.6)


def fit(
    axis: str, larger: SlopeEstimate, smaller: SlopeEstimate, ratio: SlopeEstimate, n: int = 100, where: str = "all"
) -> SlopeFit:
    names = ("dpo", "sft") if axis == "coverage" else ("sft", "dpo")
    return SlopeFit(n, axis, where, dict(zip(names, (larger, smaller), strict=True)), ratio)


def grid_of(sft: list[list[float]], dpo: list[list[float]], rl: list[list[float]]) -> Grid:
    """Two users at one coverage: rows are users, columns repetitions."""
    measured = {name: np.array(rows)[:, None, :] for name, rows in (("sft", sft), ("dpo", dpo), ("rl", rl))}
    measured |= {"early": measured["sft"] + 0.1, "late": measured["dpo"] - 0.05}
    return Grid(100, (0.4, 1.0), (1.0,), measured, np.full((2, 1), 0.5), np.zeros((2, 1)), np.array([0.01, 0.9]))


GRID = grid_of(sft=[[0.9, 0.9, 0.9], [0.2, 0.2, 0.2]], dpo=[[0.1, 0.5, 0.3], [0.3, 0.3, 0.3]],
               rl=[[0.4, 0.3, 0.35], [0.5, 0.5, 0.5]])  # fmt: skip


def test_wins_are_counted_over_all_maps_and_the_most_frequent_winner_comes_first() -> None:
    assert count_wins([GRID, GRID]) == {"sft": 2, "dpo": 2, "rl": 0}
    more = grid_of(sft=[[3.0, 3], [3, 3]], dpo=[[2.0, 2], [2, 2]], rl=[[1.0, 1], [1, 1]])
    study = Study(2, 0, [], [GRID, more], [], [], [])
    assert format_headline(study) == "RL wins in 2 of 4 settings, SFT in 1, DPO in 1."


def test_a_lead_within_noise_is_not_significant() -> None:
    assert find_significant_wins(GRID).tolist() == [[False], [True]]
    assert (
        describe_winners(GRID)
        == "p ≤ 0.4: DPO 1. p ≥ 1: SFT 1. In 1 of 2, set in bold, the lead exceeds two standard errors."
    )


def test_ties_are_reported() -> None:
    same = [[0.0, 0.0], [0.0, 0.0]]
    assert describe_winners(grid_of(same, same, same)).endswith(
        "In 2 two or more are equally good, and the first of them counts."
    )


def test_regrets_are_in_nats() -> None:
    found = compute_map_regrets(GRID)
    assert found["sft"] == pytest.approx((0.6, 1.2))
    assert found["late"] == pytest.approx((0.0, 0.1))


@pytest.mark.parametrize("axis", ["coverage", "quality"])
@pytest.mark.parametrize(
    ("larger", "smaller", "ratio", "expected"),
    [
        (SURE, SURE, SlopeEstimate(2, 1.1, 3), HOLDS),
        (SURE, SURE, SlopeEstimate(0.5, -0.1, 0.9), FAILS),
        (SURE, SURE, SlopeEstimate(2, 0.9, 3), OPEN),
        (SURE, SlopeEstimate(0.01, -0.1, 0.1), SlopeEstimate(50, 4, 900), HOLDS),
        (SlopeEstimate(-0.5, -0.6, -0.4), SlopeEstimate(0, -0.1, 0.1), SlopeEstimate(9, 2, 20), FAILS),
        (SURE, SlopeEstimate(0.3, -0.2, 0.5), SlopeEstimate(2, 1.1, 3), OPEN),
        (SlopeEstimate(0, 0, 0), SlopeEstimate(0, 0, 0), SlopeEstimate(np.nan, np.nan, np.nan), OPEN),
    ],
)
def test_a_claim_is_judged_by_intervals(
    axis: str, larger: SlopeEstimate, smaller: SlopeEstimate, ratio: SlopeEstimate, expected: str
) -> None:
    assert judge_claim(fit(axis, larger, smaller, ratio)) == expected


def test_lengths_are_named_only_where_they_make_a_difference() -> None:
    good, bad = SlopeEstimate(2, 1.1, 3), SlopeEstimate(0.5, 0.1, 0.9)
    fits = [fit("quality", SURE, SURE, good, n, "all") for n in (100, 1000)]
    fits += [fit("quality", SURE, SURE, ratio, n, "poor") for n, ratio in ((100, good), (1000, bad))]
    assert describe_claim_verdicts(fits, "quality") == (
        "“SFT suffers more from poor edits than DPO”: of 4 fits, this holds in 3 (all; poor, with 100 edits), "
        "does not hold in 1 (poor, with 1,000 edits)."
    )


def test_figures_have_a_true_minus_and_none_before_zero() -> None:
    assert [format_nats(value) for value in (-0.0004, -0.0123, 1.5)] == ["0.000", "−0.012", "1.500"]
    assert format_ratio(fit("coverage", SURE, SURE, SlopeEstimate(1.234, -0.5, 2))) == "1.23 (−0.50 to 2.00)"
    assert format_ratio(fit("coverage", SURE, SlopeEstimate(0, -1, 1), SlopeEstimate(1, 1, 1))) == "–"


def test_coverage_has_a_word() -> None:
    assert format_setting(LabSetting(0.4, 1.0)) == "p = 0.4, coverage good (1 nat)"
    assert format_setting(LabSetting(0.8, 3.0)) == "p = 0.8, coverage fair (3 nats)"
    assert format_setting(LabSetting(0.4, 5.5, exact=True)) == "exactly 2 of 5, coverage poor (5.5 nats)"


def curves_of(sft: list[list[float]]) -> Curves:
    return Curves(
        LabSetting(0.4, 1.0),
        (30, 100),
        {"sft": np.array(sft)},
        {},
        {"sft": np.array([0.35, 0.05])},
        np.array([0.45, 0.05]),
        np.full((2, 2), 0.5),
        np.array([0.6, 0.4]),
        1.0,
    )


def test_the_number_of_edits_that_halves_the_suboptimality_of_the_reference() -> None:
    assert find_halving_size(curves_of([]), np.array([[0.9, 0.4], [0.3, 0.5]])) == 100
    assert find_halving_size(curves_of([]), np.array([[0.9, 0.9]])) == np.inf


def test_the_terminal_shows_every_part_of_the_study() -> None:
    regret = LabRegret(LabSetting(0.4, 1.0), {"√2": np.array([[0.0, 3.0], [0.0, 4.0]])}, np.array([10.0, 1234.0]))
    good = fit(
        "quality", SlopeEstimate(0.5, 0.4, 0.6), SlopeEstimate(0.25, 0.2, 0.3), SlopeEstimate(2, 1.1, 3), where="[all]"
    )
    study = Study(2, 0, [curves_of([[0.3, 0.1], [0.4, 0.0]])], [GRID], [good], [regret], [])
    file = io.StringIO()
    Console(file=file, width=100, markup=False).print(render_study_terminal(study))
    printed = [line.split() for line in file.getvalue().splitlines()]
    assert ["0.4", "DPO"] in printed and ["1", "SFT"] in printed
    assert ["Late", "ensemble", "0.000", "0.100"] in printed
    assert ["quality:", "[all]", "100", "0.500", "0.250", "holds"] in printed
    shown = " ".join(file.getvalue().split())
    assert shown.startswith("SFT wins in 1 of 2 settings, DPO in 1, RL in 0.")
    assert "SFT's bound was broken in 2 of 4 logs: 50.0% of all, where δ allows 5%." in shown
    assert "SFT's bound on SubOpt was broken in 1 logs, and its bound on the distance to π* in 2." in shown
    assert "the regret of 2 rounds is 3.50 (α = √2); the bound is 1,234." in shown
