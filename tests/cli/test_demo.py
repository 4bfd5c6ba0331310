import json
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.support.demos import ARGUMENTS, EDITS, HELD_OUT, ROUNDS, DemoRun
from tests.support.gateways import until
from tests.support.processes import Command
from typer.testing import CliRunner

from copydesk.cli.app import app
from copydesk.data.cost import EditCost
from copydesk.data.jsonl import load_log
from copydesk.errors import InputError
from copydesk.models.load import load_model
from copydesk.report import summarize_rounds
from copydesk.simulate.timer import StepTimer
from copydesk.training.cost_model.io import COST_MODEL_FOLDER, load_cost_model, read_cost_model
from copydesk.training.policy_file import read_policy_file

pytestmark = pytest.mark.slow


def rounds_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]


def test_it_prints_the_table_the_saving_examples_and_the_report(small_demo: DemoRun) -> None:
    folder, printed = small_demo.folder, small_demo.printed
    for words in (
        "Base",
        "SFT",
        "DPO",
        "RL",
        "Early ensemble",
        "Late ensemble",
        "than before",
        "Before:",
        "a simulated user",
    ):
        assert words in printed
    assert str(folder / "report.html") in printed.replace("\n", "")


def test_the_results_are_computed_from_the_rounds(small_demo: DemoRun) -> None:
    folder = small_demo.folder
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert summarize_rounds(rounds_in(folder), results["settings"], results["seconds"]) == results
    assert results["columns"] == ["email/weak-to-strong"]
    assert results["methods"] == ["base", "sft", "dpo", "rl", "early", "late"]
    assert results["settings"]["seeds"] == [3]
    assert {
        "train.sft",
        "train.dpo",
        "train.rl",
        "train.early",
        "play.base",
        "log",
        "total",
    } <= set(results["seconds"])


def test_every_method_plays_the_same_contexts_and_none_of_the_log(small_demo: DemoRun) -> None:
    folder = small_demo.folder
    log = load_log(folder / "log.jsonl")
    assert len(log) == EDITS
    contexts: dict[str, list[str]] = {}
    for played in rounds_in(folder):
        contexts.setdefault(played["method"], []).append(played["context"])
    assert len(contexts) == 6
    assert all(seen == contexts["base"] and len(seen) == ROUNDS for seen in contexts.values())
    held_out = load_log(folder / "held_out.jsonl")
    assert not {record.context for record in (*log, *held_out)} & set(contexts["base"])
    assert not {record.id for record in log} & {record.id for record in held_out}
    assert {record.user for record in (*log, *held_out)} == {"weak"}


def test_the_policies_are_there_and_load(small_demo: DemoRun) -> None:
    folder = small_demo.folder
    for method in ("sft", "dpo", "rl", "early"):
        record = read_policy_file(folder / "policies" / method)
        assert (record.method, record.data.rows, record.settings["seed"]) == (method, EDITS, 3)
        model, _, _ = load_model(str(folder / "policies" / method))
        assert model.num_parameters() == record.base.parameters
        assert record.data.held_out == HELD_OUT
        assert {"logp/edit", "logp_gain/edit"} <= record.before.keys() == record.after.keys()


def test_the_cost_model_is_there_and_measured_on_the_held_out_edits(small_demo: DemoRun) -> None:
    folder = small_demo.folder
    policy = read_policy_file(folder / "policies" / "rl")
    made = read_cost_model(folder / "policies" / "rl" / COST_MODEL_FOLDER)
    assert policy.cost_model == made.to_ref()
    assert (made.rows, made.held_out) == (EDITS, HELD_OUT)
    load_cost_model(folder / "policies" / "rl" / COST_MODEL_FOLDER)
    cost = EditCost(unit="word", cap=3.0)
    costs = [cost(record.response, str(record.edit)) for record in load_log(folder / "held_out.jsonl")]
    assert sum(one["rows"] * one["cost"] for one in made.calibration) == pytest.approx(sum(costs))


def test_the_same_seed_gives_the_same_run(small_demo: DemoRun, tmp_path: Path) -> None:
    folder = small_demo.folder
    result = CliRunner().invoke(app, [*ARGUMENTS, "--out", str(tmp_path / "again"), "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["cells"] == json.loads((folder / "results.json").read_text())["cells"]
    assert rounds_in(tmp_path / "again") == rounds_in(folder)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--task", "poetry"], "email, summarization"),
        (["--user", "nobody"], "strong, weak"),
        (["--met-by", "nobody"], "strong, weak"),
        (["--user", "transfer"], "met online only"),
        (["--jobs", "0"], "--jobs"),
        (["--personal", "--met-by", "weak"], "--met-by: with --personal"),
        (["--edits", "0"], "--edits"),
        (["--rounds", "0"], "--rounds"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(wrong: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words) as error:
        CliRunner().invoke(app, ["demo", *wrong, "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert "\n" not in str(error.value)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_holds_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(InputError, match="holds other things"):
        CliRunner().invoke(app, ["demo", "--out", str(tmp_path), "--force"], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("kind", "more"), [(signal.SIGINT, []), (signal.SIGTERM, []), (signal.SIGTERM, ["--personal"])]
)
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, kind: signal.Signals, more: list[str]) -> None:
    run = Command("demo", *more, "--out", tmp_path / "new" / "out", starts_processes=True)
    until(lambda: list(tmp_path.glob("new/.out-*")), 120)
    run.send(kind)
    assert run.wait() == 128 + kind
    assert "interrupted" in run.err.splitlines()[-1]
    assert "Traceback" not in run.err
    assert not any(tmp_path.iterdir())


def test_the_clock_adds_up() -> None:
    ticks = iter([0.0, 1.0, 3.5, 4.0, 4.25, 10.0])
    clock = StepTimer(lambda: next(ticks))
    with clock("a", "first"):
        pass
    with clock("b", "second"):
        pass
    assert clock.compute_durations() == {"a": 2.5, "b": 0.25, "total": 10.0}
