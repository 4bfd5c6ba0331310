"""Tables and examples on a terminal."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from copydesk.report import print_examples, print_results, summarize

MakeRounds = Callable[..., list[dict[str, Any]]]


def console(**options: Any) -> tuple[Console, StringIO]:
    out = StringIO()
    return Console(file=out, width=140, **options), out


def test_the_table_and_the_saving_in_words(make_rounds: MakeRounds) -> None:
    to, out = console()
    results = summarize(make_rounds(), {}, {})
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
    print_results(to, summarize(make_rounds(["email/strong", "email/weak"], [0, 1], 20), {}, {}))
    assert "Max SubOpt" in out.getvalue()
    assert "±" in out.getvalue()
    assert "Email, weak user" in out.getvalue()


def test_a_measure_or_cell_that_is_missing_is_a_dash(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(["email/strong", "email/weak"], rounds=5)
    rounds = [r for r in rounds if not (r["user"] == "weak" and r["method"] == "dpo")]
    for played in rounds:
        if played["method"] == "sft":
            del played["facts"]
    to, out = console()
    print_results(to, summarize(rounds, {}, {}))
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


def test_text_from_a_log_is_no_markup(make_rounds: MakeRounds) -> None:
    rounds = [
        {**played, "kind": "[red]k", "context": "[bold]c", "response": "[/x] r"} for played in make_rounds(rounds=5)
    ]
    to, out = console()
    print_examples(to, rounds, "late", n=1)
    assert "[red]k" in out.getvalue() and "[bold]c" in out.getvalue() and "[/x]" in out.getvalue().replace("-]{+", "")
