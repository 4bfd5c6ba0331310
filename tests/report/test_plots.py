"""Plots as SVG."""

import re
import sys
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from copydesk.errors import InputError
from copydesk.report import plots
from copydesk.report.style import get_css_variable

MakeRounds = Callable[..., list[dict[str, Any]]]
PLOTS = [plots.plot_cost_over_rounds, plots.plot_pulls_over_rounds, plots.plot_cost_by_kind]
ALL = [*PLOTS, plots.plot_regret_over_rounds]


@pytest.mark.parametrize("plot", ALL)
def test_the_same_rounds_give_the_same_bytes(plot: Callable[..., str], make_rounds: MakeRounds) -> None:
    rounds = make_rounds(seeds=[0, 1], rounds=40)
    assert plot(rounds) == plot(list(reversed(rounds)))


@pytest.mark.parametrize("plot", PLOTS)
def test_colours_are_those_of_the_page(plot: Callable[..., str], make_rounds: MakeRounds) -> None:
    svg = plot(make_rounds(rounds=40))
    ElementTree.fromstring(svg.replace("xlink:href", "href"))  # well formed
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg))
    assert all(colour in ("none", "currentColor") or colour.startswith("var(--") for colour in colours), colours
    for method in ("sft", "dpo", "early"):
        assert get_css_variable(method) in svg
    assert "http" not in svg


@pytest.mark.parametrize("plot", ALL)
@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.filterwarnings("error")
def test_short_runs_can_be_drawn(plot: Callable[..., str], rounds: int, make_rounds: MakeRounds) -> None:
    assert plot(make_rounds(rounds=rounds)).startswith("<svg viewBox=")


def test_regret_has_a_line_for_each_rule_and_a_rule_where_the_user_changes(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(seeds=[0, 1], rounds=30, lates=["late", "late-thompson"])
    svg = plots.plot_regret_over_rounds(rounds)
    assert "Late ensemble" in svg and "Late, Thompson" in svg
    assert get_css_variable("late-thompson") in svg and get_css_variable("sft") not in svg
    assert plots.plot_regret_over_rounds(rounds, change_round=15).count("var(--rule") == svg.count("var(--rule") + 1


def test_each_late_ensemble_has_its_own_pulls(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(rounds=30, lates=["late", "late-thompson"])
    assert plots.plot_pulls_over_rounds(rounds, "late-thompson") != plots.plot_pulls_over_rounds(rounds)


def test_the_window_fits_the_run(make_rounds: MakeRounds) -> None:
    assert [plots.choose_rolling_window(make_rounds(rounds=rounds)) for rounds in (1, 30, 60, 200)] == [1, 10, 20, 20]


def test_the_names_of_kinds_are_escaped_and_not_read_as_formulas(make_rounds: MakeRounds) -> None:
    rounds = [{**played, "kind": "a$b$<script>_x"} for played in make_rounds(rounds=5)]
    svg = plots.plot_cost_by_kind(rounds)
    assert "a$b$&lt;script&gt; x" in svg
    assert "<script" not in svg


@pytest.mark.parametrize("name", ["sft", "run/sft v2", "é", "a_b", "--x"])
def test_css_names_are_identifiers_and_distinct(name: str) -> None:
    assert re.fullmatch(r"--[a-z0-9_-]+", get_css_variable(name))
    assert get_css_variable("a b") != get_css_variable("a_b")


def test_without_matplotlib_the_error_names_the_extra(make_rounds: MakeRounds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'copydesk\[report\]'"):
        plots.plot_cost_by_kind(make_rounds(rounds=5))
