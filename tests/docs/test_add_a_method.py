"""The steps of docs/howto/add-a-method.md, followed literally: its blocks are executed where the page puts them."""

import importlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.conftest import make_records
from tests.support.fences import fences
from typer.testing import CliRunner

import copydesk.cli.train as cli
from copydesk import method_registry
from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.report.style import METHOD_STYLES, method_styles, sort_methods
from copydesk.simulate.config import ExperimentConfig
from copydesk.training import objectives
from copydesk.training.config import TrainConfig

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = fences(DOCS / "howto" / "add-a-method.md")
OBJECTIVE, ENTRY, TEST, SCRIPT = (block.text for block in BLOCKS if block.language == "python")
(COMMAND,) = (block.text for block in BLOCKS if block.language == "text")
(ROW,) = (block.text for block in BLOCKS if block.language == "markdown")


@pytest.fixture
def slic() -> Iterator[None]:
    """The sources with the blocks of steps 1 and 2 appended, for as long as a test runs."""
    methods, names = dict(METHODS), set(vars(objectives))
    exec(OBJECTIVE, vars(objectives))
    exec(ENTRY, vars(method_registry))
    importlib.reload(cli)
    yield
    METHODS.clear()
    METHODS.update(methods)
    for name in set(vars(objectives)) - names:
        delattr(objectives, name)
    importlib.reload(cli)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [record.model_dump_json() + "\n" for record in make_records()]
    (tmp_path / "log.jsonl").write_text("".join(rows))
    return tmp_path


def test_without_the_steps_there_is_no_such_method() -> None:
    with pytest.raises(InputError, match="--method: 'slic' is not one of sft, dpo, rl, early"):
        TrainConfig(method="slic")


def test_the_test_of_the_page_passes(slic: None) -> None:
    namespace: dict[str, Any] = dict(vars(objectives))
    exec(TEST, namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(tests) == 1
    tests[0]()


@pytest.mark.slow
def test_the_script_of_the_page_trains_with_it(slic: None, folder: Path) -> None:
    exec(SCRIPT, {})
    policy = json.loads((folder / "policies" / "slic-1" / "policy.json").read_text())
    assert (policy["method"], policy["settings"]["learning_rate"]) == ("slic", 5e-5)
    assert [entry["step"] for entry in policy["history"]] == [1, 2]
    assert {"loss", "loss/preference", "margin", "accuracy"} <= policy["history"][0].keys()
    assert policy["after"]["loss"] < policy["before"]["loss"]


@pytest.mark.slow
def test_the_command_of_the_page_trains_with_it(slic: None, folder: Path) -> None:
    app = typer.Typer()
    app.command()(cli.train_command)
    words = shlex.split(COMMAND.removeprefix("$ "))
    assert words[:2] == ["copydesk", "train"]
    result = CliRunner().invoke(app, [*words[2:], "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["method"] == "slic"
    help_text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300", "TERM": "dumb"}).output
    assert "slic" in help_text and "slic 5e-5" in method_registry.describe_learning_rates()


def test_reports_and_simulations_know_it(slic: None) -> None:
    style = method_styles(["base", "slic"])["slic"]
    assert (style.label, style.note) == (METHODS["slic"].label, METHODS["slic"].note)
    assert (style.light, style.dark) not in [(known.light, known.dark) for known in METHOD_STYLES.values()]
    assert sort_methods(["late", "slic", "early", "base"]) == ["base", "early", "slic", "late"]
    training = ExperimentConfig(methods=("base", "slic")).make_train_config("slic", 3)
    assert (training.method, training.seed, training.full) == ("slic", 3, True)


def test_the_row_of_the_page_fits_the_table_of_methods() -> None:
    header = next(line for line in (DOCS / "training.md").read_text().splitlines() if line.startswith("| `--method`"))
    assert ROW.replace("\\|", "").count("|") == header.count("|")
    assert ROW.startswith("| `slic` |")
