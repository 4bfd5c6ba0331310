"""Tables and examples on a terminal."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from copydesk.report import print_examples, print_results, summarize_rounds
from copydesk.report.terminal import format_regret

MakeRounds = Callable[..., list[dict[str, Any]]]


def console(**options: Any) -> tuple[Console, StringIO]:
    out = StringIO()
    return Console(file=out, width=140, **options), out


def test_the_table_and_the_saving_in_words(make_rounds: MakeRounds) -> None:
    to, out = console()
    results = summarize_rounds(make_rounds(), {}, {})
    print_results(to, results)
    text = out.getvalue()
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert f"{results['cells']['email/strong']['late']['mean']:.2f}" in rows["Late ensemble"]
    assert "−" in rows["SFT"] and "%" in rows["SFT"]
    assert "Facts right" in text and "88.0%" in rows["DPO"]
    assert "% less than before" in text
    assert "Max SubOpt" not in text


def test_many_columns_end_with_max_subopt(make_rounds: MakeRounds) -> None:
    to, out = console()
    print_results(to, summarize_rounds(make_rounds(["email/strong", "email/weak"], [0, 1], 20), {}, {}))
    assert "Max SubOpt" in out.getvalue()
    assert "±" in out.getvalue()
    assert "Email, weak user" in out.getvalue()


def test_a_table_is_at_most_four_columns_wide_and_the_report_has_the_rest(make_rounds: MakeRounds) -> None:
    to, out = console()
    print_results(to, summarize_rounds(make_rounds([f"email/{name}" for name in "abcde"], rounds=5), {}, {}))
    text = out.getvalue()
    tables = text.split("Mean edit cost")
    assert len(tables) == 3
    assert "Max SubOpt" not in tables[1] and "Max SubOpt" in tables[2]
    assert "Email, d user" in tables[1] and "Email, e user" in tables[2]
    assert "Facts right" not in text


def test_shifts_have_regrets_and_sweeps_a_row_for_each_value(make_rounds: MakeRounds) -> None:
    columns = ["email/a", "email/b", "email/a-to-b", "email/a-n500", "email/a-n2000"]
    results = summarize_rounds(make_rounds(columns, rounds=12, lates=["late", "late-thompson"]), {}, {})
    to, out = console()
    print_results(to, results)
    lines = out.getvalue().splitlines()
    regret = f"{results['regret']['email/a-to-b']['late-thompson']['regret']['mean']:.2f}".replace("-", "−")
    assert any("log of a, meets b" in line and "Late, Thompson" in line and regret in line for line in lines)
    assert not any("500 edits" in line for line in lines)  # a sweep's regrets are in results.json
    [row] = [line for line in lines if line.startswith("2,000 ")]
    assert f"{results['cells']['email/a-n2000']['sft']['mean']:.2f}" in row
    plain, over_all, _ = [line for line in lines if "Max SubOpt" in line]
    assert over_all.strip() == "Max SubOpt, all columns"
    assert "Email, b user" in plain and "meets" not in plain


def test_a_single_plain_column_has_a_table_among_many_others(make_rounds: MakeRounds) -> None:
    columns = ["email/a", *(f"email/a-to-{name}" for name in "bcde")]
    to, out = console()
    print_results(to, summarize_rounds(make_rounds(columns, rounds=5), {}, {}))
    assert out.getvalue().startswith("Email, a user ")
    assert out.getvalue().count("Facts right") == 1


def test_the_best_arm_of_each_seed_is_counted(make_rounds: MakeRounds) -> None:
    cell = {"regret": {"mean": -0.5, "std": 0.25, "per_seed": [-0.75, -0.25]}, "best": ["dpo", "sft", "dpo"]}
    assert format_regret(cell) == ("−0.50 ± 0.25", "–", "DPO (2×), SFT (1×)")
    assert format_regret({**cell, "best": ["dpo", "dpo"]})[2] == "DPO"


def test_names_of_columns_are_not_read_as_markup(make_rounds: MakeRounds) -> None:
    to, out = console()
    print_results(
        to, summarize_rounds(make_rounds(["a/[red]", "a/[red]2", "a/[red]-to-[bold]", "a/[red]-n5"], rounds=5), {}, {})
    )
    text = out.getvalue()
    assert "A, [red]2 user" in text  # a heading
    assert any(line.startswith("A, log of [red], meets [bold]") for line in text.splitlines())  # a cell


def test_a_measure_or_cell_that_is_missing_is_a_dash(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(["email/strong", "email/weak"], rounds=5)
    rounds = [r for r in rounds if not (r["user"] == "weak" and r["method"] == "dpo")]
    for played in rounds:
        if played["method"] == "sft":
            del played["facts"]
    to, out = console()
    print_results(to, summarize_rounds(rounds, {}, {}))
    assert any("–" in line for line in out.getvalue().splitlines() if line.startswith("SFT"))
    assert any("–" in line for line in out.getvalue().splitlines() if line.startswith("DPO"))


@pytest.mark.parametrize(
    ("options", "marked"),
    [
        ({}, "[-Best-]{+Thanks a lot+}"),
        ({"force_terminal": True, "color_system": "standard", "no_color": True}, "[-Best-]{+Thanks a lot+}"),
        ({"force_terminal": True, "color_system": "standard"}, "\x1b[9;31mBest\x1b[0m\x1b[4;32mThanks a lot\x1b[0m"),
    ],
)
def test_examples_mark_what_changed(options: dict[str, Any], marked: str, make_rounds: MakeRounds) -> None:
    to, out = console(_environ={}, **options)
    rounds = make_rounds()
    print_examples(to, rounds, "late")
    text = out.getvalue()
    assert marked in text
    assert text.count("Before: Base: edit cost") == 3
    assert text.count("After: Late ensemble, which played ") == 3


def test_text_from_a_log_is_not_read_as_markup(make_rounds: MakeRounds) -> None:
    rounds = [
        {**played, "kind": "[red]k", "context": "[bold]c", "response": "[/x] r"} for played in make_rounds(rounds=5)
    ]
    to, out = console()
    print_examples(to, rounds, "late", n=1)
    assert "[red]k" in out.getvalue() and "[bold]c" in out.getvalue() and "[/x]" in out.getvalue().replace("-]{+", "")
