"""The paper's tables in results.json, in the report and on a terminal."""

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from copydesk.report import print_results, summarize_rounds
from copydesk.report.html import render_report_html
from copydesk.report.plots import get_running_start, plot_running_cost
from copydesk.report.results import (
    collect_sweeps,
    collect_tables,
    compute_cost_reduction,
    compute_regret_per_round,
    group_sweeps,
)

MakeRound = Callable[..., dict[str, Any]]
MakeRounds = Callable[..., list[dict[str, Any]]]
COSTS = {  # SFT, DPO, late
    "email/strong": (0.2, 0.3, 0.25),
    "email/weak-to-strong": (0.7, 0.3, 0.4),
    "email/strong-to-transfer": (0.1, 0.2, 0.15),
    "email/weak-to-transfer": (0.6, 0.5, 0.8),
}


def play(make_round: MakeRound, costs: dict[str, tuple[float, ...]]) -> list[dict[str, Any]]:
    """One round of each method in each column; the late ensemble plays DPO."""
    return [
        make_round(method, cost, column=column, policy="dpo" if method == "late" else method)
        for column, row in costs.items()
        for method, cost in zip(("sft", "dpo", "late"), row, strict=True)
    ]


def means(cells: dict[str, Any]) -> dict[str, float]:
    return {method: pytest.approx(cell["mean"]) for method, cell in cells.items()}


def test_each_table_has_its_own_max_subopt_and_all_columns_have_one(make_round: MakeRound) -> None:
    results = summarize_rounds(play(make_round, COSTS), {}, {})
    assert means(results["max_subopt"]) == {"sft": 0.4, "dpo": 0.1, "late": 0.1}
    assert results["robustness"]["late"]["mean"] == pytest.approx(1.0)
    second = results["table_2"]
    assert second["columns"] == ["email/strong-to-transfer", "email/weak-to-transfer"]
    assert means(second["max_subopt"]) == {"sft": 0.1, "dpo": 0.1, "late": 0.3}
    assert second["robustness"]["late"]["mean"] == pytest.approx(3.0)
    assert means(results["max_subopt_all"]) == {"sft": 0.4, "dpo": 0.1, "late": 0.3}
    assert results["robustness_all"]["late"]["mean"] == pytest.approx(3.0)


def test_table_1_alone_is_all_that_there_is(make_round: MakeRound) -> None:
    names = ("email/strong", "email/weak-to-strong")
    results = summarize_rounds(play(make_round, {name: COSTS[name] for name in names}), {}, {})
    assert list(results) == [
        *("settings", "columns", "methods", "cells", "max_subopt", "regret", "robustness", "seconds")
    ]
    [table] = collect_tables(results)
    assert (table.number, [column.name for column in table.columns]) == (1, [*names])
    assert table.max_subopt is results["max_subopt"]


def test_table_2_alone_is_the_main_table(make_round: MakeRound) -> None:
    names = ("email/strong-to-transfer", "email/weak-to-transfer")
    results = summarize_rounds(play(make_round, {name: COSTS[name] for name in names}), {}, {})
    assert results["max_subopt"] == results["table_2"]["max_subopt"]
    assert "max_subopt_all" not in results
    [table] = collect_tables(results)
    assert (table.number, table.max_subopt) == (2, results["max_subopt"])


def test_erring_users_beside_a_table_count_for_all_columns_only(make_round: MakeRound) -> None:
    costs = {**COSTS, "email/erring-0.30": (0.9, 0.1, 0.2)}
    results = summarize_rounds(play(make_round, costs), {}, {})
    assert means(results["max_subopt"])["sft"] == 0.4
    assert means(results["max_subopt_all"])["sft"] == 0.8


def test_people_edit_less_than_before_in_table_1(make_round: MakeRound) -> None:
    rounds = [*play(make_round, COSTS), *(make_round("base", 0.5, column=column) for column in COSTS)]
    saved = compute_cost_reduction(summarize_rounds(rounds, {}, {}))
    assert saved is not None and (saved.before, saved.after) == (0.5, pytest.approx(0.325))


def test_a_single_column_of_a_table_is_no_table(make_table_rounds: MakeRounds) -> None:
    rounds = make_table_rounds(["email/weak-to-strong"], [0], 9)
    results = summarize_rounds(rounds, {}, {})
    assert collect_tables(results) == []
    titles = re.findall("<h2>(.*?)</h2>", render_report_html(rounds, results).replace("&#39;", "'"))
    assert titles == [
        "Email, weak user's log, met by the strong user",
        "Late ensembles over the rounds",
        "Beside the paper",
    ]


def test_the_cost_in_sub_tokens_and_the_share_of_trimmed_texts_are_averaged(make_round: MakeRound) -> None:
    rounds = [make_round("sft", 0.5, subtoken_cost=cost, trimmed=cost > 0.5) for cost in (0.4, 0.8)]
    cell = summarize_rounds(rounds, {}, {})["cells"]["email/strong"]["sft"]
    assert (cell["subtoken_cost"], cell["trimmed"]) == (pytest.approx(0.6), 0.5)


def test_regret_per_round_is_the_total_over_the_rounds_of_a_seed(make_rounds: MakeRounds) -> None:
    results = summarize_rounds(make_rounds(["email/strong"], [0, 1], 40), {}, {})
    found = compute_regret_per_round(results, "email/strong", "late")
    total = results["regret"]["email/strong"]["late"]["regret"]
    assert found["per_seed"] == pytest.approx([seed / 40 for seed in total["per_seed"]])
    assert found["mean"] == pytest.approx(total["mean"] / 40)


def test_the_report_sets_each_table_beside_the_papers(make_table_rounds: MakeRounds) -> None:
    rounds = make_table_rounds()
    results = summarize_rounds(rounds, {}, {})
    page = render_report_html(rounds, results).replace("&#39;", "'")
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles[:3] == [
        "Table 1: everybody is met by the strong user",
        "Table 2: everybody is met by another user with the same preferences",
        "Late ensembles over the rounds",
    ]
    assert titles[3:] == [
        *("Summarization, strong user", "Summarization, weak user's log, met by the strong user"),
        *("Email, strong user", "Email, weak user's log, met by the strong user"),
    ]
    first, second, regret, _ = page.split("<h2>", 4)[1:]
    for section, column, paper in (
        (first, "email/weak-to-strong", "0.34 ± 0.01"),
        (second, "email/weak-to-transfer", "0.30 ± 0.02"),
    ):
        ours = results["cells"][column]["dpo"]
        assert f"{ours['mean']:.2f} ± {ours['std']:.2f}<br><small>{paper}</small>" in section
        assert "Email, weak user's log</th>" in section and "Max SubOpt</th>" in section
    ratio = results["table_2"]["robustness"]["late"]
    assert f"<td>{ratio['mean']:.2f} ± {ratio['std']:.2f}</td><td>0.17</td>" in second
    assert "Cut at a repeat" in second and "Sub-token cost" in second  # table 1's are in sections of their own
    per_round = compute_regret_per_round(results, "email/strong", "late")
    assert f"{per_round['mean']:.3f} ± {per_round['std']:.3f}" in regret
    assert regret.count("<svg") == 8


def test_other_users_follow_the_tables(make_table_rounds: MakeRounds) -> None:
    columns = ["email/strong", "email/weak-to-strong", "email/erring-0.30", "email/strong-then-other"]
    rounds = make_table_rounds(columns, [0], 9)
    page = render_report_html(rounds, summarize_rounds(rounds, {}, {}))
    others = page[page.index("<h2>Other users</h2>") :]
    assert "Email, erring-0.30 user" in others and "turns into other halfway" in others
    assert "users who are not those of the log" not in page


def test_the_terminal_has_both_tables_with_the_papers_figures(make_table_rounds: MakeRounds) -> None:
    out = StringIO()
    results = summarize_rounds(make_table_rounds(), {}, {})
    print_results(Console(file=out, width=100), results)
    _, first, second, means, rest = re.split(
        r"Table [12]: |Means over the columns of table 1|Max SubOpt divided", out.getvalue()
    )
    for table, column, paper in ((first, "email/strong", "0.34 ± 0.00"), (second, "email/strong-to-transfer", "0.30")):
        lines = table.splitlines()
        [row] = [place for place, line in enumerate(lines) if line.startswith("DPO ")]
        assert f"{results['cells'][column]['dpo']['mean']:.2f}" in lines[row]
        assert paper in lines[row + 1]
        assert "SubOpt" in table
    assert re.search(r"Late ensemble +2 .* 0\.17\n", rest)
    assert re.search(r"\nDPO +0\.\d\d +0\.\d\d +\d+% +88\.0% +\d+\.\d% +25\.0%\n", means)  # means over the columns
    everywhere = [results["cells"][column]["sft"]["mean"] for column in results["columns"]]
    over_all = rest[rest.index("Max SubOpt, all columns") :]
    assert re.search(rf"SFT +{np.mean(everywhere):.2f} +\d", over_all)  # a cost beside every Max SubOpt


def test_every_key_of_results_json_is_in_the_reference(make_table_rounds: MakeRounds) -> None:
    reference = (Path(__file__).parents[2] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    section = reference.split("## results.json")[1].split("\n## ")[0]
    assert [name for name in summarize_rounds(make_table_rounds(), {}, {}) if f"`{name}`" not in section] == []


def test_running_means_start_where_they_are_no_longer_noise(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(["email/strong"], [0, 1], 50)
    svg = plot_running_cost(rounds)
    assert svg == plot_running_cost(rounds)
    assert "Late ensemble" in svg and "Early ensemble" in svg and "Base" not in svg  # base is not an arm
    assert [get_running_start([{"t": t}]) for t in (1, 9, 50, 200, 1000)] == [1, 1, 5, 10, 10]


def test_sweeps_over_the_log_of_both_users_share_a_figure(make_table_rounds: MakeRounds) -> None:
    columns = [f"email/{users}-n{n}" for users in ("strong", "weak-to-strong") for n in (100, 1000, 10000)]
    columns += ["email/other-n100", "email/weak-0.2-to-strong", "email/weak-0.8-to-strong", "code/strong-n100"]
    rounds = make_table_rounds(columns, [0], 6)
    results = summarize_rounds(rounds, {}, {})
    groups = [[sweep.title for sweep in group] for group in group_sweeps(collect_sweeps(results))]
    assert groups == [
        [
            "Email, strong user, by the edits in the log",
            "Email, weak user's log, met by the strong user, by the edits in the log",
        ],
        ["Email, other user, by the edits in the log"],
        ["Email, by the attention of the log's user, met by the strong user"],
        ["Code, strong user, by the edits in the log"],
    ]
    [attention] = [sweep for sweep in collect_sweeps(results) if sweep.symbol == "attention"]
    assert list(attention.cells) == [0.2, 0.8]
    page = render_report_html(rounds, results)
    assert page.count('<figure class="wide">') == 1
    assert "probability that a preference is attended to" in page
