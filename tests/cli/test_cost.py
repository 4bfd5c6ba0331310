import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.support.commands import document_of, error_of
from tokenizers import Tokenizer, models, pre_tokenizers
from typer.testing import CliRunner, Result

from copydesk.cli.cost import cost_command

ROWS = [
    {"id": "a", "context": "c", "response": "a b c d", "edit": "a b c d"},
    {"id": "b", "context": "c", "response": "a b c d", "edit": "a b x d"},
    {"id": "é", "context": "c", "response": "a b c d", "edit": "x"},
    {"id": "p", "context": "c", "response": "a b c d"},
]


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(cost_command)
    return CliRunner().invoke(app, list(arguments))


def document(*arguments: str) -> dict[str, Any]:
    return document_of(run(*arguments, "--json"))


def error(*arguments: str) -> str:
    return error_of(run(*arguments))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_a_pair() -> None:
    assert document("a b c d", "a x", "--unit", "word") == {
        "cost": 0.75,
        "metric": "levenshtein/word/response",
        "response_units": 4,
        "edit_units": 2,
    }
    assert document("a b", "c d", "--unit", "word", "--normalize", "none", "--cap", "1.5")["cost"] == 1.5
    assert "0.7500" in run("a b c d", "a x", "--unit", "word").stdout


def test_a_pair_in_subtokens(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    pair = document("a a b", "a b", "--tokenizer", str(tmp_path))
    assert pair["cost"] == pytest.approx(1 / 3)
    assert pair["metric"].startswith(f"levenshtein/subtoken:{tmp_path.name}@")


def test_a_log(log: Path) -> None:
    summary = document("--file", str(log), "--unit", "word")
    assert {name: summary[name] for name in ("rows", "pending", "accepted", "edited")} == {
        "rows": 4,
        "pending": 1,
        "accepted": 1,
        "edited": 2,
    }
    assert summary["mean"] == pytest.approx((0 + 0.25 + 1) / 3)
    assert summary["median"] == summary["quantiles"]["0.5"] == 0.25
    shown = run("--file", str(log), "--unit", "word").stdout
    assert "0.4167" in shown
    assert "levenshtein/word/response" in shown


def test_a_single_file_is_a_log(log: Path, tmp_path: Path) -> None:
    named = document("--file", str(log), "--unit", "word")
    assert document(str(log), "--unit", "word") == named
    plain = log.rename(tmp_path / "edits of may")  # ends like no file, but is one
    assert document(str(plain), "--unit", "word") == named | {"file": str(plain)}
    assert document(str(plain), "--unit", "word", "--out", str(tmp_path / "costs"))["out"] == str(tmp_path / "costs")
    assert f"{tmp_path}: this is a folder" in error(str(tmp_path), "--unit", "word")


def test_two_arguments_are_texts_even_where_one_names_a_file(log: Path) -> None:
    assert document(str(log), str(log), "--unit", "word")["cost"] == 0


def test_costs_are_written_beside_their_metric(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "costs.jsonl"
    assert document("--file", str(log), "--unit", "word", "--out", str(out))["out"] == str(out)
    metric = "levenshtein/word/response"
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == [
        {"id": "a", "cost": 0.0, "metric": metric},
        {"id": "b", "cost": 0.25, "metric": metric},
        {"id": "é", "cost": 1.0, "metric": metric},
        {"id": "p", "cost": None, "metric": metric},
    ]


def test_a_log_that_is_all_pending(log: Path) -> None:
    log.write_text(json.dumps(ROWS[3]))
    assert document("--file", str(log), "--unit", "word")["mean"] is None
    assert "none yet" in run("--file", str(log), "--unit", "word").stdout


def test_a_bad_row_leaves_no_costs(log: Path, tmp_path: Path) -> None:
    with log.open("a") as file:
        file.write('{"context": "c", "resp')
    assert f"{log}:5: the file ends in the middle" in error(
        "--file", str(log), "--unit", "word", "--out", str(tmp_path / "costs.jsonl")
    )
    assert list(tmp_path.iterdir()) == [log]


def test_an_empty_log(log: Path, tmp_path: Path) -> None:
    log.write_text("\n")
    assert "the log is empty" in error("--file", str(log), "--unit", "word")
    assert "the log is empty" in error("--file", str(log), "--unit", "word", "--out", str(tmp_path / "costs.jsonl"))
    assert list(tmp_path.iterdir()) == [log]


def test_the_log_is_never_replaced_by_its_costs(log: Path) -> None:
    before = log.read_bytes()
    assert "which would be replaced" in error("--file", str(log), "--unit", "word", "--out", str(log))
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "needs a response and its edit"),
        (["a"], "needs a response and its edit"),
        (["Dear all. " * 100], "needs a response and its edit"),
        (["a", "b", "--file", "log.jsonl"], "not both"),
        (["log.jsonl", "--file", "log.jsonl"], "not both"),
        (["a", "b", "--out", "costs.jsonl"], "give a log instead"),
        (["missing.jsonl"], "missing.jsonl: there is no such file"),
        (["missing.csv"], "missing.csv: there is no such file"),
        (["a", "b", "--cap", "0"], "cap is 0.0"),
        (["--file", "missing.jsonl", "--unit", "word"], "missing.jsonl: there is no such file"),
    ],
)
def test_wrong_arguments(arguments: list[str], says: str) -> None:
    assert says in error(*arguments)


@pytest.mark.slow
def test_the_command_itself(log: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "copydesk", "cost", *arguments], capture_output=True, text=True, check=False
        )

    good = command("--file", str(log), "--unit", "word", "--json")
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["rows"] == 4
    bad = command("--file", str(log.parent / "missing.jsonl"), "--unit", "word")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("copydesk: ")
    assert bad.stderr.count("\n") == 1
