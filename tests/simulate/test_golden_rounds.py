"""The rounds that runs play are, field by field, what they were before there was one runner.

`golden/played/` was written by the four drivers of Protocol 1 at commit ac14c83: a demo, a benchmark, the demo's
policies played again, and a run with several people. Texts depend on trained weights, and these on the CPU's
instructions and on the version of torch; where they are not those of `machine.json`, only what does not depend on
trained weights is compared: documents, users, and all of Base.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.demo_run import run_demo
from copydesk.simulate.online import play_policies
from copydesk.simulate.outcome import write_results
from copydesk.simulate.personal_run import run_personal
from copydesk.simulate.play_config import DemoConfig, OnlineConfig, PersonalConfig
from copydesk.simulate.run import run_experiment

pytestmark = pytest.mark.slow

PLAYED = Path(__file__).parent / "golden" / "played"
MACHINE = {"torch": torch.__version__.partition("+")[0], "cpu": torch.backends.cpu.get_cpu_capability()}
SAME_EVERYWHERE = ("seed", "t", "task", "user", "method", "kind", "context")

SHORT: dict[str, dict[str, Any]] = {
    "sft": {"epochs": 2.0},
    "dpo": {"epochs": 2.0},
    "early": {"epochs": 2.0},
}


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def check(folder: Path, name: str) -> None:
    """Compare the rounds of a run with the stored ones, in the fields that those have."""
    played, stored = read_lines(folder / "rounds.jsonl"), read_lines(PLAYED / f"{name}.jsonl")
    assert len(played) == len(stored)
    exact = json.loads((PLAYED / "machine.json").read_text(encoding="utf-8")) == MACHINE
    for ours, theirs in zip(played, stored, strict=True):
        fields = theirs if exact or theirs["method"] == "base" else SAME_EVERYWHERE
        assert {field: ours[field] for field in fields} == {field: theirs[field] for field in fields}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    settings = DemoConfig(user="weak", rounds=8, edits=32, seed=1)
    write_results(folder, [(settings, run_demo(settings, folder))])
    return folder


def test_a_demo(demo: Path) -> None:
    check(demo, "demo")


def test_policies_of_a_demo_played_again(demo: Path, tmp_path: Path) -> None:
    from copydesk.data.jsonl import load_log
    from copydesk.policies import open_policy

    specs = {"base": "embedded", **{name: str(demo / "policies" / name) for name in ("early", "sft")}}
    settings = OnlineConfig(policies=specs, user="p0.35", rounds=8, seed=2, alpha=0.2, temperature=0.9)
    policies = [open_policy(name, spec) for name, spec in specs.items()]
    write_results(tmp_path, [(settings, play_policies(policies, settings, load_log(demo / "log.jsonl")))])
    check(tmp_path, "simulate")


def test_a_benchmark_with_another_user_online_and_one_who_changes(tmp_path: Path) -> None:
    settings = ExperimentConfig(
        columns=("summarization/weak-to-strong", "email/strong-then-weak"),
        methods=("base", "sft", "dpo", "early", "icl-2", "late"),
        arms=("sft", "dpo", "early", "icl-2"),
        rules=("late-thompson",),
        seeds=(3,),
        rounds=6,
        edits=24,
        recipe=SHORT,
        max_new_tokens=80,
    )
    run_experiment(settings, tmp_path / "out")
    check(tmp_path / "out", "bench")


def test_several_people(tmp_path: Path) -> None:
    settings = PersonalConfig(rounds=4, edits=24, seed=3)
    write_results(tmp_path, [(settings, run_personal(settings, tmp_path))])
    check(tmp_path, "personal")
