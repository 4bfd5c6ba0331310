"""The scripts that print and draw the paper's tables for the docs."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from copydesk.report import summarize_rounds

SCRIPTS = Path(__file__).parents[2] / "experiments" / "table"
MakeRounds = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[dict[str, Any]]], Path]:
    monkeypatch.syspath_prepend(SCRIPTS)

    def save(rounds: list[dict[str, Any]]) -> Path:
        results = summarize_rounds(rounds, {"machine": "a laptop"}, {"total": 2.0})
        (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
        return tmp_path

    return save


def test_both_tables_are_printed_with_the_papers_figures(
    run: Callable[..., Path], make_table_rounds: MakeRounds, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(make_table_rounds())
    importlib.import_module("print_tables").main([str(folder)])
    printed = capsys.readouterr().out
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    first, second = printed.split("Table 2: ")
    dpo = results["cells"]["email/weak-to-strong"]["dpo"]
    assert f"| {dpo['mean']:.3f} ± {dpo['std']:.3f}<br>*0.34 ± 0.01* |" in first
    assert "(the paper: 0.27)" in first and "(the paper: 0.17)" in second
    assert "<br>*0.78 ± 0.02* |" in second and "subtoken_cost" in second
    assert "regret per round" in second


def test_a_run_without_the_papers_tables_is_printed_as_well(
    run: Callable[..., Path], make_rounds: MakeRounds, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(make_rounds(["email/strong", "email/weak", "email/strong-to-other", "email/p0.2"], [0], 9))
    importlib.import_module("print_tables").main([str(folder)])
    printed = capsys.readouterr().out
    assert "| method | Email, strong user | Email, weak user | Max SubOpt |" in printed
    assert "| method | Email, log of strong, meets other | Max SubOpt |" in printed
    assert "by the strength of the user" in printed


def test_the_picture_is_an_image_of_the_tables(
    run: Callable[..., Path], make_table_rounds: MakeRounds, tmp_path: Path
) -> None:
    out = tmp_path / "tables.svg"
    importlib.import_module("draw_picture").main([str(run(make_table_rounds())), "--out", str(out), "--caption", "Two"])
    drawn = out.read_text(encoding="utf-8")
    for text in ("Table 1: everybody", "Table 2: everybody", "Early ensemble", "Max SubOpt", "Two"):
        assert text in drawn


def test_a_run_without_the_papers_tables_cannot_be_drawn(run: Callable[..., Path], make_rounds: MakeRounds) -> None:
    with pytest.raises(SystemExit, match="none of the paper's tables"):
        importlib.import_module("draw_picture").main([str(run(make_rounds(["email/mine"], [0], 3)))])
