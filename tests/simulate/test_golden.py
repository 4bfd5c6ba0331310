"""The files of a run are, byte for byte, those in `golden/`.

There are the settings of each case in `cases.json`, `bench.json`, and `results.json` as computed from `rounds.jsonl`.
"""

import json
from pathlib import Path
from typing import Any

import pytest

import copydesk.simulate.run
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.log_run import list_log_runs
from copydesk.simulate.protocol import Round
from copydesk.simulate.run import write_experiment_results
from copydesk.simulate.run_folder import RunFolder, read_rounds, write_json, write_rounds

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))


def build_config(name: str) -> ExperimentConfig:
    return ExperimentConfig(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in CASES[name].items()}
    )


@pytest.fixture
def rounds() -> list[Round]:
    return read_rounds(GOLDEN / "rounds.jsonl")


@pytest.mark.parametrize("name", CASES)
def test_the_settings_of_a_run(name: str) -> None:
    text = json.dumps(build_config(name).to_json(), indent=2, ensure_ascii=False) + "\n"
    assert text == (GOLDEN / f"{name}.settings.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["default", "everything", "table"])
def test_the_settings_file_of_a_benchmark(name: str, tmp_path: Path) -> None:
    RunFolder(tmp_path / "out").prepare(build_config(name), resume=False)
    assert (tmp_path / "out" / "bench.json").read_bytes() == (GOLDEN / f"{name}.bench.json").read_bytes()


def test_the_results_of_a_benchmark(rounds: list[Round], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = {"python": "3.11", "torch": "2.6", "system": "Linux", "cores": 2, "gpu": None}
    monkeypatch.setattr(copydesk.simulate.run, "_describe_machine", lambda: machine)
    config, folder = build_config("table"), RunFolder(tmp_path / "out")
    folder.prepare(config, resume=False)
    played: dict[tuple[str, str, int], list[Round]] = {}
    for one in rounds:
        played.setdefault((f"{one.task}/{one.user}", one.method, one.seed), []).append(one)
    for key, own in played.items():
        write_rounds(folder.rounds_path(*key), own)
    for log_run in list_log_runs(config):
        write_json(folder.seconds_path(log_run), {"load": 0.25, "total": 1.0})
        write_json(folder.seconds_path(log_run, "sft"), {"train.sft": 1.5, "total": 1.75})
    write_experiment_results(config, folder)
    assert (tmp_path / "out" / "results.json").read_bytes() == (GOLDEN / "table.results.json").read_bytes()
