"""Sweeps, and where curves cross."""

from collections.abc import Callable
from typing import Any

import pytest

from copydesk.report.plots import plot_cost_over_sweep
from copydesk.report.results import Sweep, collect_sweeps, find_crossings, summarize_rounds

MakeRound = Callable[..., dict[str, Any]]


def sweep_of(symbol: Any, **curves: dict[float, float]) -> Sweep:
    values = sorted({value for curve in curves.values() for value in curve})
    cells = {
        value: {
            method: {"mean": curve[value], "std": 0.0, "per_seed": [curve[value]]}
            for method, curve in curves.items()
            if value in curve
        }
        for value in values
    }
    return Sweep(symbol, "Email", cells)


def test_columns_are_grouped_by_what_they_share(make_round: MakeRound) -> None:
    names = ["email/p0.5", "email/strong-n1000", "email/p0.05", "email/strong-n200", "email/weak-n200", "email/strong"]
    rounds = [make_round("sft", 0.1 * i, column=name) for i, name in enumerate(names)]
    sweeps = collect_sweeps(summarize_rounds(rounds, {}, {}))
    assert [(sweep.symbol, sweep.title, list(sweep.cells)) for sweep in sweeps] == [
        ("p", "Email, by the strength of the user", [0.05, 0.5]),
        ("n", "Email, strong user, by the edits in the log", [200.0, 1000.0]),
        ("n", "Email, weak user, by the edits in the log", [200.0]),
    ]
    assert sweeps[0].curve("sft")[0][1]["mean"] == pytest.approx(0.2)
    assert collect_sweeps(summarize_rounds(rounds[-1:], {}, {})) == []


def test_straight_lines_cross_in_between() -> None:
    [found] = find_crossings(sweep_of("p", sft={0.2: 0.9, 0.6: 0.1}, dpo={0.2: 0.5, 0.6: 0.5}))
    assert (found.first, found.second, found.cheaper) == ("sft", "dpo", "sft")
    assert found.value == pytest.approx(0.4)


def test_the_length_of_the_log_is_on_a_log_axis() -> None:
    [found] = find_crossings(sweep_of("n", sft={10: 0.6, 1000: 0.4}, dpo={10: 0.5, 1000: 0.5}))
    assert found.value == pytest.approx(100)


def test_every_pair_and_every_crossing_in_ascending_order() -> None:
    found = find_crossings(
        sweep_of("p", sft={0: 1, 1: 0, 2: 1}, dpo={0: 0.5, 1: 0.5, 2: 0.5}, rl={0: 0.75, 1: 0.75, 2: 0.75})
    )
    assert [(one.first, one.second, one.value, one.cheaper) for one in found] == [
        ("sft", "rl", 0.25, "sft"),
        ("sft", "dpo", 0.5, "sft"),
        ("sft", "dpo", 1.5, "dpo"),
        ("sft", "rl", 1.75, "rl"),
    ]


def test_curves_can_cross_at_a_point_of_the_sweep() -> None:
    [found] = find_crossings(sweep_of("p", sft={0: 1, 1: 0.5, 2: 0}, dpo={0: 0.5, 1: 0.5, 2: 0.5}))
    assert found.value == 1


@pytest.mark.parametrize(
    "sft", [{0: 0.6, 1: 0.5, 2: 0.6}, {0: 0.6, 1: 0.6, 2: 0.5}, {0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.5, 1: 0.5, 2: 0.5}]
)
def test_touching_is_not_crossing(sft: dict[float, float]) -> None:
    assert find_crossings(sweep_of("p", sft=sft, dpo={0: 0.5, 1: 0.5, 2: 0.5})) == []


def test_only_points_that_both_have_count() -> None:
    [found] = find_crossings(sweep_of("p", sft={0: 1, 1: 9, 2: 0}, dpo={0: 0.5, 2: 0.5}))
    assert found.value == pytest.approx(1.0)


@pytest.mark.parametrize("values", [[0.35], [0.2, 0.8]])
@pytest.mark.parametrize("symbol", ["n", "p"])
@pytest.mark.filterwarnings("error")
def test_any_sweep_can_be_drawn(symbol: str, values: list[float]) -> None:
    sweep = sweep_of(symbol, sft={v * 100: 0.4 for v in values}, oracle={v * 100: 0.1 for v in values})
    svg = plot_cost_over_sweep(sweep)
    assert svg == plot_cost_over_sweep(sweep)
    assert "SFT" in svg and "var(--method-oracle" in svg
    assert f"{symbol}, the " in svg
