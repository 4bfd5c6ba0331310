"""People with different tastes, in tables, plots and on the page."""

import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from copydesk.report import print_results, summarize_rounds
from copydesk.report.html import render_report_html
from copydesk.report.results import build_user_rows
from copydesk.report.style import METHOD_STYLES, method_styles, sort_methods

MakeRound = Callable[..., dict[str, Any]]
PEOPLE = {
    "ann": {"p": 0.95, "turn": 0, "edits": 8},
    "ben": {"p": 0.95, "turn": 0, "edits": 3},
    "dan": {"p": 0.95, "turn": 1, "edits": 1},
}
COSTS = {"ann": (0.8, 0.2, 0.1), "ben": (0.8, 0.2, 0.4), "dan": (0.8, 0.6, 0.7)}


def rounds_of(make_round: MakeRound, seeds: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
    """Two rounds each; the ensemble of ann and ben plays shared, own, and dan's plays nothing but shared."""
    rounds = []
    for seed in seeds:
        for who, (base, shared, own) in COSTS.items():
            for t in (1, 2):
                place: dict[str, Any] = {"column": f"email/{who}", "t": t, "seed": seed}
                policies = {"base": base, "shared": shared + seed, f"own-{who}": own}
                for method, (policy, cost) in zip(("base", "shared", "own"), policies.items(), strict=True):
                    rounds.append(make_round(method, cost, policy=policy, **place))
                arm = "shared" if t == 1 or who == "dan" else f"own-{who}"
                rounds.append(make_round("late", policies[arm], policy=arm, **place))
    return rounds


def results_of(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return summarize_rounds(rounds, {"task": "email", "people": PEOPLE}, {})


def test_a_row_for_each_person_and_one_for_everybody(make_round: MakeRound) -> None:
    *rows, everybody = build_user_rows(results_of(rounds_of(make_round)))
    assert [(row.name, row.edits, row.taste) for row in rows] == [
        ("ann", "8", "1 other"), ("ben", "3", "1 other"), ("dan", "1", "nobody"),
    ]  # fmt: skip
    assert {method: cell["mean"] for method, cell in rows[0].cells.items()} == pytest.approx(
        {"base": 0.8, "shared": 0.2, "own": 0.1, "late": 0.15}
    )
    assert everybody.edits == "12"
    assert everybody.cells["own"]["mean"] == pytest.approx(0.4)
    regrets = [0.1, 0.2, 0.0]
    assert [row.regret and row.regret["mean"] for row in rows] == pytest.approx(regrets)
    assert everybody.regret and everybody.regret["mean"] == pytest.approx(sum(regrets))


def test_the_spread_for_everybody_is_over_seeds(make_round: MakeRound) -> None:
    everybody = build_user_rows(results_of(rounds_of(make_round, (0, 1))))[-1]
    assert everybody.cells["shared"]["per_seed"] == pytest.approx([1 / 3, 4 / 3])
    assert everybody.cells["base"]["std"] == pytest.approx(0)


def test_a_policy_that_somebodys_ensemble_never_tried_may_still_be_the_best(make_round: MakeRound) -> None:
    rounds = rounds_of(make_round)
    for one in rounds:
        if one["user"] == "dan" and one["method"] == "own":
            one["cost"] = 0.1
    results = results_of(rounds)
    assert results["regret"]["email/dan"]["late"]["best"] == ["own"]
    assert results["regret"]["email/dan"]["late"]["regret"]["mean"] == pytest.approx(1.0)


def test_the_page_shows_each_person_and_no_column(make_round: MakeRound) -> None:
    rounds = rounds_of(make_round)
    page = render_report_html(rounds, results_of(rounds))
    assert re.findall("<h2>(.*?)</h2>", page) == ["Each person"]
    assert page.count("<svg") == 1 + len(PEOPLE)
    for words in ("ann, 8 edits", "Taste shared with", "Shared policy", "Own adapter", "nobody", "everybody"):
        assert words in page
    assert "people.dan.edits" in page


def test_the_terminal_shows_one_table(make_round: MakeRound) -> None:
    console = Console(file=StringIO(), width=120)
    print_results(console, results_of(rounds_of(make_round)))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed.count("Mean edit cost") == 1
    assert re.search(r"dan\s+1\s+nobody\s+0\.80\s+0\.60\s+0\.70\s+0\.60\s+0\.00", printed)


def test_methods_of_people_have_a_place_and_colours_of_their_own() -> None:
    assert sort_methods(["late", "own", "base", "shared", "early"]) == ["base", "early", "shared", "own", "late"]
    found = method_styles([*METHOD_STYLES, "oracle", "shared", "own"])
    for ground in ("light", "dark"):
        assert len({getattr(look, ground) for look in found.values()}) == len(found)
