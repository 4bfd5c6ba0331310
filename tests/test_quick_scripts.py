"""Every script of benchmarks/ and experiments/ runs with --quick, here on its smallest input."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
IN_PROCESS = {
    "benchmarks/gateway_overhead.py": [
        *["--rounds", "1", "--seconds", "0.3", "--warm-up", "0.1", "--completions", "4", "--clients", "2"],
        *["--edit-seconds", "0.2", "--without-litellm", "--databases", "sqlite", "--json"],
    ],
    "benchmarks/log_scale.py": ["--rows", "100", "--pairs", "20", "--repeats", "1", "--only", "cost", "--json"],
    "benchmarks/rl_time.py": ["--edits", "8", "--json"],
    "experiments/delayed_feedback/delayed_feedback.py": ["--seeds", "2", "--rounds", "60", "--json"],
    "experiments/diagnose/judge_advice.py": ["--json"],
    "experiments/llm_user/transcript.py": [],
    "experiments/offpolicy/check_coverage.py": [
        *["--shifts", "0.8", "--sizes", "0.8", "--logs", "2", "--rounds", "200", "--resamples", "20", "--json"],
        *["--embedded-logs", "1", "--embedded-edits", "16", "--embedded-rounds", "16", "--pool", "16", "--others", "4"],
    ],
    "experiments/overoptimisation/overoptimisation.py": [
        *["--edits", "12", "--documents", "3", "--steps", "1", "--every", "1", "--kinds", "max", "--json"]
    ],
    "experiments/paper/estimate_cost.py": ["--json"],
    "experiments/personal/personal.py": ["table"],
    "experiments/real_edits/train_smollm2.py": ["--rows", "5", "--steps", "1", "--json"],
    "experiments/recipe/choose_recipe.py": ["--methods", "sft", "--json"],
    "experiments/selection/choose_settings.py": ["--json"],
    "experiments/selection/train_grid.py": [],
    "experiments/table/draw_picture.py": [],
    "experiments/table/print_tables.py": [],
}
"""The options beside --quick, which go before what it stands for."""

IN_A_PROCESS = {
    # It forks, which a process that has computed with torch should not.
    "benchmarks/train_vs_trl.py": ["--models", "embedded", "--all", "embedded", "--longest", "8", "--json"],
}


def find_scripts() -> list[str]:
    """The Python files that are run, rather than imported by another."""
    files = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("experiments/**/*.py")]
    return sorted(
        str(file.relative_to(ROOT)) for file in files if 'if __name__ == "__main__"' in file.read_text(encoding="utf-8")
    )


def test_every_script_is_run_here() -> None:
    assert find_scripts() == sorted([*IN_PROCESS, *IN_A_PROCESS])


@pytest.fixture
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = ROOT / request.param
    monkeypatch.syspath_prepend(path.parent)
    return importlib.import_module(path.stem)


@pytest.mark.parametrize("script", IN_PROCESS, indirect=True)
def test_it_runs_quickly_from_a_fresh_clone(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    options = IN_PROCESS[request.node.callspec.params["script"]]
    out = ["--out", str(tmp_path)] if script.__name__ in ("choose_recipe", "overoptimisation", "train_grid") else []
    assert not script.main([*options, "--quick", *out])
    printed = capsys.readouterr().out
    if "--json" in options:
        assert json.loads(printed)
    else:
        assert printed.strip()


def test_the_rate_of_an_adapter_is_searched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "experiments" / "personal")
    importlib.import_module("personal").main(["rate", "--quick"])
    head, _, row = capsys.readouterr().out.strip().splitlines()
    assert "email, 8 edits" in head and row.startswith("| 0.05 |")


@pytest.mark.parametrize("name", IN_A_PROCESS)
def test_it_runs_without_the_logs_of_real_edits(name: str, tmp_path: Path) -> None:
    """Rows are longer than `--longest` tokens, and there is no folder of logs: as in a fresh clone."""
    words = [sys.executable, ROOT / name, "--quick", "--logs", tmp_path / "none", *IN_A_PROCESS[name]]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (row,) = found["rows"]
    assert found["all_ratio"] > 0
    assert (row["model"], row["data"]) == ("embedded", "simulated") and row["loss_gap"] < 1e-3
    assert "no such folder" in done.stderr and "the shortest rows are used" in done.stderr
