"""`copydesk train` killed, terminated and resumed, as a person or a scheduler does it."""

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateways import until
from tests.support.processes import Command

pytestmark = pytest.mark.kill

STEPS = 60


def start(model: Path, out: Path, *more: str) -> Command:
    return Command(
        "train", "--data", out.parent / "log.jsonl", "--model", model, "--out", out, "--method", "early",
        "--batch-size", "2", "--accumulate", "2", "--lr", "1e-2", "--max-steps", str(STEPS), "--save-every", "3",
        "--json", *more,
    )  # fmt: skip


def finished(run: Command) -> dict[str, Any]:
    """The document of a run that comes to its end."""
    assert run.wait(240) == 0, run.err
    document: dict[str, Any] = json.loads(run.out)
    return document


def wait_for_step(out: Path, step: int) -> None:
    """Until a checkpoint of that step or a later one is there."""
    unfinished = out.with_name(out.name + ".unfinished")
    until(lambda: any(int(saved.name.split("-")[1]) >= step for saved in unfinished.glob("checkpoint-*")), 60)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = [
        {"id": str(i), "context": f"Tell {i} about it", "response": f"Dear {i}, Monday.", "edit": f"Hi {i}! Monday."}
        for i in range(21)
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("full", [[], ["--full"]], ids=["lora", "full"])
def test_killed_at_any_moment_a_resumed_run_ends_with_the_same_weights(
    full: list[str], log: Path, model_folder: Path, tmp_path: Path
) -> None:
    expected = finished(start(model_folder, tmp_path / "whole", *full))

    chance = random.Random(7)
    for step in (1,) if full else (1, 20):
        killed = start(model_folder, tmp_path / "killed", "--resume", *full)
        wait_for_step(tmp_path / "killed", step)
        time.sleep(chance.random() / 5)
        killed.kill()
        assert not (tmp_path / "killed").exists()
    resumed = start(model_folder, tmp_path / "killed", "--resume", *full)
    found = finished(resumed)
    assert "reused" in resumed.err

    weights = "model.safetensors" if full else "adapter_model.safetensors"
    assert (tmp_path / "killed" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    assert found["after"] == expected["after"]
    losses = [{entry["step"]: entry["loss"] for entry in policy["history"]} for policy in (expected, found)]
    assert all(losses[1][step] == loss for step, loss in losses[0].items() if step in losses[1])
    left = {entry.name for entry in tmp_path.iterdir()} - {"model"}
    assert left == {"log.jsonl", "whole", "killed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_exits_with_a_clear_line(number: int, log: Path, model_folder: Path, tmp_path: Path) -> None:
    run = start(model_folder, tmp_path / "policy")
    wait_for_step(tmp_path / "policy", 1)
    run.send(number)
    assert run.wait(60) == 128 + number
    assert run.out == ""
    last = run.err.strip().splitlines()[-1]
    assert last.startswith("copydesk: interrupted after step ") and "--resume" in last
    step = int(last.split("step ")[1].split(" ")[0])
    unfinished = tmp_path / "policy.unfinished"
    assert sorted(entry.name for entry in unfinished.iterdir()) == [f"checkpoint-{step}", "run.json"]
    if number == signal.SIGTERM:  # what either of them leaves is the same
        assert finished(start(model_folder, tmp_path / "policy", "--resume"))["history"][-1]["step"] == STEPS


def test_rl_killed_in_either_stage_ends_with_the_same_policy(log: Path, model_folder: Path, tmp_path: Path) -> None:
    options = [
        "--method=rl",
        "--max-steps=12",
        "--generations=2",
        "--responses=4",
        "--max-new-tokens=8",
        "--members=1",
        "--save-every=2",
    ]
    expected = finished(start(model_folder, tmp_path / "whole", *options))
    unfinished = tmp_path / "killed.unfinished"
    for stage in (unfinished / "cost_model.unfinished", unfinished):
        killed = start(model_folder, tmp_path / "killed", "--resume", *options)
        until(lambda stage=stage: any(stage.glob("checkpoint-*")), 120)
        killed.kill()
    assert (unfinished / "cost_model" / "cost_model.json").is_file()
    resumed = start(model_folder, tmp_path / "killed", "--resume", *options)
    found = finished(resumed)
    assert "fitting a cost model" not in resumed.err
    for file in ("adapter_model.safetensors", "cost_model/cost_model.safetensors"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert found["after"] == expected["after"]
    assert not unfinished.exists()
