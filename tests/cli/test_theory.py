import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from copydesk.cli.theory import theory_command
from copydesk.errors import InputError, Interrupted
from copydesk.theory.experiments import SlopeEstimate, SlopeFit, measure_curves, measure_grid, measure_regret
from copydesk.theory.lab import LabSetting
from copydesk.theory.study import Study, StudyConfig, count_steps

app = typer.Typer()
app.command()(theory_command)


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(app, [*words], catch_exceptions=False, env=environment)


@pytest.fixture(scope="module")
def small() -> Study:
    one = SlopeEstimate(1.0, 0.5, 2.0)
    curves = measure_curves(LabSetting(1.0, 1.0), 2, 0, lengths=(30,))
    return Study(
        repeats=2,
        seed=0,
        curves=[replace(curves, bounds={**curves.bounds, "dpo": np.array([np.inf])})],
        grids=[measure_grid(30, 2, 0, attentions=(0.4, 1.0), divergences=(1.0,))],
        slopes=[SlopeFit(30, "quality", "all coverages", {"sft": one, "dpo": one}, one)],
        regrets=[measure_regret(LabSetting(1.0, 1.0), 10, 2, 0)],
        fixed_points=[],
    )


@pytest.fixture
def asked(small: Study, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The repetitions and seeds of the studies that were run; each is the small one."""
    found: list[tuple[int, int]] = []

    def run_study(config: StudyConfig, done: Callable[[], None] = lambda: None) -> Study:
        found.append((config.repeats, config.seed))
        done()
        return small

    monkeypatch.setattr("copydesk.cli.theory.run_study", run_study)
    return found


@pytest.mark.slow
def test_it_writes_the_page_and_prints_its_findings(asked: list[tuple[int, int]], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = run("--out", str(out), "--repeats", "3", "--seed", "5")
    assert asked == [(3, 5)]
    assert "wins in" in result.stdout and "all coverages" in result.stdout
    assert f"Report: {out}" in result.stdout.replace("\n", "")
    assert "</html>" in out.read_text(encoding="utf-8")


def test_json_output_is_one_document(asked: list[tuple[int, int]], small: Study, tmp_path: Path) -> None:
    result = run("--out", str(tmp_path / "page.html"), "--json")
    assert asked == [(20, 0)]

    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    document = json.loads(result.stdout, parse_constant=refuse)
    assert document["curves"][0]["bounds"]["dpo"] == [None]
    document["curves"][0]["bounds"]["dpo"] = [np.inf]
    assert document == small.to_json()
    assert (tmp_path / "page.html").is_file()


def test_progress_is_shown_on_a_terminal_and_not_on_stdout(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def run_study(config: StudyConfig, done: Callable[[], None]) -> Study:
        for _ in range(count_steps(config.repeats)):
            done()
            steps.append(1)
        return small

    monkeypatch.setattr("copydesk.cli.theory.run_study", run_study)
    result = run("--out", str(tmp_path / "page.html"), "--repeats", "2", "--json", FORCE_COLOR="1")
    assert len(steps) == count_steps(2)
    assert "measuring" in result.stderr and "100%" in result.stderr
    assert json.loads(result.stdout)["settings"]["repeats"] == 2


def test_a_page_is_replaced_only_by_force(asked: list[tuple[int, int]], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("mine")
    with pytest.raises(InputError, match=r"this file exists; .* --force"):
        run("--out", str(out))
    assert asked == [] and out.read_text() == "mine"
    run("--out", str(out), "--force")
    assert asked and out.read_text(encoding="utf-8") != "mine"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--repeats", "1"], r"--repeats: 1 must be at least 2"),
        (["--seed", "-1"], r"--seed: -1 must be at least 0"),
        (["--out", "nowhere/page.html"], r"there is no folder"),
        (["--out", "."], r"this is a folder"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_run(
    words: list[str], expected: str, asked: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=expected) as error:
        run(*words)
    assert "\n" not in str(error.value)
    assert asked == [] and not any(tmp_path.iterdir())


def test_missing_matplotlib_is_an_error_before_the_run(
    asked: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'copydesk\[report\]'"):
        run("--out", str(tmp_path / "page.html"))
    assert asked == [] and not any(tmp_path.iterdir())


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(config: StudyConfig) -> Study:
        raise Interrupted(2)

    monkeypatch.setattr("copydesk.cli.theory.run_study", interrupted)
    with pytest.raises(Interrupted):
        run("--out", str(tmp_path / "page.html"))
    assert not any(tmp_path.iterdir())
