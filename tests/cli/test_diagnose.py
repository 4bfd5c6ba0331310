import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.support.commands import document_of, error_of
from typer.testing import CliRunner, Result

from copydesk.cli.diagnose import diagnose_command
from copydesk.data.jsonl import read_jsonl
from copydesk.store import EditStore
from copydesk.store.imports import ImportedRow, append_imported_rows, compute_content_digest

ROWS = [
    {
        "context": f"Write to x{row}",
        "response": f"Dear <b>x{row}</b>, the item y{row} is ready [1]",
        "edit": f"Hi <b>x{row}</b>, the item y{row} is ready [1]" if row % 4 else f"Dear <b>x{row}</b>, the item",
        "user": "ann@secret.example" if row % 3 else "bo",
    }
    for row in range(60)
]


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(diagnose_command)
    return CliRunner().invoke(app, [*arguments, "--unit", "word"])


def error(*arguments: str) -> str:
    return error_of(run(*arguments))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def document(*arguments: str) -> dict[str, Any]:
    return document_of(run(*arguments, "--json"))


@pytest.fixture
def store(log: Path, tmp_path: Path) -> str:
    """The same rows in a store."""
    store = EditStore.open(str(tmp_path / "log.db"))
    with store.begin_write() as tx:
        rows = [ImportedRow(record, compute_content_digest(record, "default"), 0.5) for record in read_jsonl(log)]
        append_imported_rows(tx, rows, "m", "default", since=0, at=1000.0)
    store.close()
    return str(tmp_path / "log.db")


def test_a_store_gives_the_same_diagnosis_as_its_log(log: Path, store: str) -> None:
    of_file, of_store = document("--data", str(log)), document("--store", store)
    assert of_store.pop("data") == f"sqlite:///{store}"
    assert of_file.pop("data") == str(log)
    assert of_store == of_file
    ann = run("--store", store, "--user", "ann@secret.example")
    shown = " ".join(ann.stdout.split())
    assert "copydesk train --store" in shown
    assert "--user ann@secret.example --model" in shown
    assert document("--store", store, "--user", "bo")["counts"]["rows"] == 20


def test_the_terminal_shows_advice_cautions_figures_and_rewrites(log: Path) -> None:
    result = run("--data", str(log))
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "copydesk train --data" in shown
    assert "rule of thumb" in shown
    assert "60 edited, 0 accepted, 0 pending" in shown
    assert "One of 2 users has 67%" in shown
    assert "secret" not in shown


def test_json_output_is_one_document(log: Path) -> None:
    found = document("--data", str(log))
    assert (found["data"], found["out"]) == (str(log), None)
    assert found["counts"]["edited"] == 60
    assert found["coverage"] is None
    assert found["advice"]["method"] in ("sft", "dpo", "rl", "early")


def test_the_page_is_self_contained_and_shows_text_as_text(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert document("--data", str(log), "--out", str(out))["out"] == str(out)
    page = out.read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="https?:', page)
    for title in (
        "Why",
        "Be careful",
        "The edits",
        "The commonest edits",
        "Do people edit consistently?",
        "All figures",
    ):
        assert f"<h2>{title}</h2>" in page
    assert page.count("<svg") == 3
    assert "<del>Dear</del> <ins>Hi</ins>" in page
    assert "&lt; b &gt;" in page
    assert "< b >" not in page
    assert "The formulas behind the advice" in page


def test_a_page_is_replaced_only_with_force(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("mine")
    assert "this file exists" in error("--data", str(log), "--out", str(out))
    assert out.read_text() == "mine"
    assert run("--data", str(log), "--out", str(out), "--force").exit_code == 0
    assert out.read_text().startswith("<!doctype html>")


def test_the_log_is_never_replaced_by_its_page(log: Path) -> None:
    before = log.read_bytes()
    assert "that is the log itself" in error("--data", str(log), "--out", str(log), "--force")
    assert log.read_bytes() == before


def test_an_invalid_row_leaves_no_page(log: Path, tmp_path: Path) -> None:
    with log.open("a") as file:
        file.write('{"context": "c"}\n')
    assert f"{log}:61: " in error("--data", str(log), "--out", str(tmp_path / "page.html"))
    assert list(tmp_path.iterdir()) == [log]


def test_a_log_in_which_nobody_edited_anything(log: Path, tmp_path: Path) -> None:
    log.write_text('{"context": "c", "response": "a b", "edit": "a b"}\n{"context": "c", "response": "a"}\n')
    result = run("--data", str(log), "--out", str(tmp_path / "page.html"))
    assert result.exit_code == 0, result.output
    assert "Nobody edited anything" in result.stdout
    assert "Nothing to learn from yet" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "missing.jsonl"], "missing.jsonl: there is no such file"),
        ([], "either as --data FILE or as --store URL"),
        (["--data", "a.jsonl", "--store", "a.db"], "either as --data FILE or as --store URL"),
        (["--data", "a.jsonl", "--user", "ann"], "select rows of a store"),
        (["--store", "missing.db"], "missing.db: there is no such file"),
        (["--data", "LOG", "--sample", "1"], "--sample: 1 must be at least 2"),
        (["--data", "LOG", "--model", "./nowhere"], "--model ./nowhere"),
    ],
)
def test_wrong_arguments(log: Path, arguments: list[str], says: str) -> None:
    assert says in error(*[str(log) if word == "LOG" else word for word in arguments])


def test_an_empty_log(log: Path) -> None:
    log.write_text("\n")
    assert error("--data", str(log)).startswith(f"{log}: the log is empty")
