"""The choice of training settings from a grid that was trained: `experiments/selection/choose_settings.py`."""

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "experiments" / "selection")
    return importlib.import_module("choose_settings")


@pytest.fixture
def grid(script: ModuleType, tmp_path: Path) -> Path:
    """Two settings for each of two users and seeds; the second one writes the edits and costs less."""
    script.write_small_grid(tmp_path / "grid")
    return tmp_path / "grid"


@pytest.fixture
def choose(script: ModuleType, grid: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*options: str) -> dict[str, Any]:
        assert script.main([str(grid), "--json", *options]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def chosen(found: dict[str, Any], seed: str, rule: str) -> list[tuple[str, float]]:
    return [(row["setting"], row["mean"]) for row in found["seeds"][seed]["chosen"] if row["rule"] == rule]


def test_each_rule_chooses_by_its_own_metric(choose: Any) -> None:
    found = choose()
    assert list(found["seeds"]) == ["0", "1"]
    # All policies are the same model, so the log-losses are equal; the texts are not.
    assert chosen(found, "0", "log-loss") == [("sft-0", 0.4)]
    assert chosen(found, "0", "unfixed") == chosen(found, "0", "best in hindsight") == [("sft-1", 0.1)]
    assert found["recipe"]["unfixed"] == {"email": {"sft": {"learning_rate": 0.003}}}
    assert found["recipe"].keys() == {"log-loss", "changed-log-loss", "unfixed"}


def test_a_metric_is_correlated_with_the_cost(choose: Any) -> None:
    rows = {(row["metric"], row["log"]): row for row in choose()["seeds"]["0"]["correlations"]}
    assert rows["unfixed", "mean"]["spearman"] == pytest.approx(1.0)
    assert rows["unfixed", "weak"]["pearson"] == pytest.approx(1.0)
    assert rows["log_loss", "mean"]["spearman"] is None
    assert rows["log_loss", "mean"]["settings"] == 2


def test_a_setting_is_chosen_on_the_first_seed_and_checked_on_the_others(choose: Any, grid: Path) -> None:
    for user in ("strong", "weak"):
        rounds = grid / f"email-{user}-1" / "sft-1" / "rounds.jsonl"
        rounds.write_text('{"cost": 0.9, "malformed": true}\n', encoding="utf-8")
    found = choose()
    assert chosen(found, "1", "unfixed") == [("sft-1", 0.9)]
    assert chosen(found, "1", "best in hindsight") == [("sft-0", 0.4)]


def test_the_reference_policy_is_compared_and_is_no_setting(choose: Any, grid: Path) -> None:
    for run in grid.iterdir():
        shutil.copytree(run / "sft-0", run / "base-0", ignore=shutil.ignore_patterns("policy"))
        (run / "base-0" / "settings.json").write_text('{"method": "base", "settings": {}}', encoding="utf-8")
    found = choose()
    assert chosen(found, "0", "base") == [("base-0", 0.4)]
    assert chosen(found, "0", "unfixed") == chosen(found, "0", "best in hindsight") == [("sft-1", 0.1)]
    assert found["recipe"]["unfixed"]["email"].keys() == {"sft"}
    assert {row["settings"] for row in found["seeds"]["0"]["correlations"]} == {2}


@pytest.mark.parametrize("missing", ["settings.json", "held_out_texts.json", "rounds.jsonl"])
def test_a_setting_that_is_not_finished_for_every_user_is_skipped(
    missing: str, script: ModuleType, grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (grid / "email-weak-0" / "sft-1" / missing).unlink()
    assert script.main([str(grid), "--json"]) == 0
    printed = capsys.readouterr()
    assert chosen(json.loads(printed.out), "0", "unfixed") == [("sft-0", 0.4)]
    assert "skipped email, seed 0, sft-1: not finished for every user" in printed.err


def test_a_folder_that_is_still_being_written_is_no_setting(choose: Any, grid: Path) -> None:
    for run in grid.iterdir():
        shutil.copytree(run / "sft-1", run / ".sft-2.partial", symlinks=True)
    assert {row["setting"] for row in choose()["seeds"]["0"]["candidates"]} == {"sft-0", "sft-1"}


def test_metrics_are_computed_once(choose: Any, grid: Path) -> None:
    choose()
    file = grid / "email-weak-0" / "sft-0" / "metrics.json"
    known = json.loads(file.read_text(encoding="utf-8"))
    assert known["unfixed"] == 1.0
    file.write_text(json.dumps(known | {"unfixed": 0.25}), encoding="utf-8")

    def read(found: dict[str, Any]) -> float:
        value: float = found["seeds"]["0"]["candidates"][0]["logs"]["weak"]["unfixed"]
        return value

    assert read(choose()) == 0.25
    assert read(choose("--again")) == 1.0


def test_the_settings_are_printed_as_python(script: ModuleType, grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main([str(grid)]) == 0
    printed = capsys.readouterr().out
    assert '"sft": _BASE_RECIPE.replace(method="sft", learning_rate=0.003),' in printed
    assert "| unfixed | email | sft | learning_rate 0.003 | 0.100 (0%) | 0.100 (0%) | 0.100 |" in printed


def test_a_folder_without_finished_settings_is_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([str(tmp_path)]) == 2
    assert "no setting is finished" in capsys.readouterr().err
