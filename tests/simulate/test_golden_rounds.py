"""The rounds that runs play are, field by field, what they were before there was one runner.

`golden/played/` was written by the four drivers of Protocol 1 at commit ac14c83: a demo, a benchmark, the demo's
policies played again, and a run with several people. Users have other names since then. Texts depend on trained
weights, and these on the CPU's instructions and on the version of torch; where they are not those of `machine.json`,
only what does not depend on trained weights is compared: documents, users, and all of Base.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.presets import make_personal_config
from copydesk.simulate.run import run_experiment

pytestmark = pytest.mark.slow

PLAYED = Path(__file__).parent / "golden" / "played"
MACHINE = {"torch": torch.__version__.partition("+")[0], "cpu": torch.backends.cpu.get_cpu_capability()}
SAME_EVERYWHERE = ("seed", "t", "task", "user", "method", "kind", "context")
RECIPE: dict[str, dict[str, Any]] = json.loads((PLAYED / "recipe.json").read_text(encoding="utf-8"))
SHORT = {method: RECIPE[method] | {"epochs": 2.0} for method in ("sft", "dpo", "early")}
USERS = {
    "weak": "erring-0.30",
    "p0.35": "erring-0.35",
    "weak-to-strong": "erring-0.30-to-erring-0.95",
    "strong-then-weak": "erring-0.95-then-erring-0.30",
}
"""The users of the stored rounds, as they are called now."""

BEFORE = ExperimentConfig(
    held_out_edits=0,
    temperature=0.7,
    log_temperature=1.0,
    alpha=0.3,
    cost_unit="subtoken",
    trim_repeats=0,
    unseen_values=0.0,
    recipe={method: values for method, values in RECIPE.items() if method != "personal"},
)
"""The settings that were the defaults."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rounds in an order that does not depend on the file's."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted(rows, key=lambda row: (row["task"], row["user"], row["method"], row["seed"], row["t"]))


def check(folder: Path, name: str, user: str | None = None) -> None:
    """Compare the rounds of a run with the stored ones, in the fields that those have."""
    played, stored = read_rows(folder / "rounds.jsonl"), read_rows(PLAYED / f"{name}.jsonl")
    assert len(played) == len(stored)
    exact = json.loads((PLAYED / "machine.json").read_text(encoding="utf-8")) == MACHINE
    for ours, theirs in zip(played, stored, strict=True):
        theirs["user"] = USERS.get(theirs["user"], theirs["user"])
        fields = theirs if exact or theirs["method"] == "base" else SAME_EVERYWHERE
        assert {field: ours[field] for field in fields} == {field: theirs[field] for field in fields}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    settings = BEFORE.replace(
        columns=("email/erring-0.30",),
        methods=("base", "sft", "dpo", "rl", "early", "late"),
        arms=("sft", "dpo", "rl", "early"),
        seeds=(1,),
        rounds=8,
        edits=32,
    )
    run_experiment(settings, folder, compact=True)
    return folder


def test_a_demo(demo: Path) -> None:
    check(demo, "demo")


def test_policies_of_a_demo_played_again(demo: Path, tmp_path: Path) -> None:
    settings = BEFORE.replace(
        columns=("email/erring-0.35",),
        methods=("base", "early", "sft", "late"),
        policies={"base": "embedded", **{name: str(demo / "policies" / name) for name in ("early", "sft")}},
        exclude_logs=(str(demo / "log.jsonl"),),
        seeds=(2,),
        rounds=8,
        alpha=0.2,
        temperature=0.9,
    )
    run_experiment(settings, tmp_path / "out")
    check(tmp_path / "out", "simulate")


def test_a_benchmark_with_another_user_online_and_one_who_changes(tmp_path: Path) -> None:
    settings = BEFORE.replace(
        columns=("summarization/erring-0.30-to-erring-0.95", "email/erring-0.95-then-erring-0.30"),
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
    usual = make_personal_config(user="erring-0.95", rounds=4, edits=24, seed=3)
    names = ("columns", "methods", "personal", "seeds", "rounds", "edits")
    settings = BEFORE.replace(**{name: getattr(usual, name) for name in names}, recipe={"sft": RECIPE["personal"]})
    run_experiment(settings, tmp_path / "out")
    check(tmp_path / "out", "personal")
