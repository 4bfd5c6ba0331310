"""`copydesk train` killed, terminated and resumed, as a person or a scheduler does it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STEPS = 60


def command(model: Path, out: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "copydesk", "train", "--data", str(out.parent / "log.jsonl"), "--model", str(model),
        "--out", str(out), "--method", "early", "--batch-size", "2", "--accumulate", "2", "--lr", "1e-2",
        "--max-steps", str(STEPS), "--save-every", "3", "--json", *more,
    ]  # fmt: skip


def start(model: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    environment = os.environ | {"COPYDESK_CACHE": str(out.parent / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(model, out, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for_step(out: Path, step: int) -> None:
    """Until a checkpoint of that step or a later one is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        saved = out.with_name(out.name + ".unfinished").glob("checkpoint-*")
        if any(int(folder.name.split("-")[1]) >= step for folder in saved):
            return
        time.sleep(0.01)
    pytest.fail("no checkpoint appeared")


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
    whole = start(model_folder, tmp_path / "whole", *full)
    out, error = whole.communicate(timeout=120)
    assert whole.returncode == 0, error

    chance = random.Random(7)
    for step in (1,) if full else (1, 20):
        killed = start(model_folder, tmp_path / "killed", "--resume", *full)
        wait_for_step(tmp_path / "killed", step)
        time.sleep(chance.random() / 5)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert not (tmp_path / "killed").exists()
    resumed = start(model_folder, tmp_path / "killed", "--resume", *full)
    again, error = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, error
    assert "reused" in error

    weights = "model.safetensors" if full else "adapter_model.safetensors"
    assert (tmp_path / "killed" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    expected, found = json.loads(out), json.loads(again)
    assert found["after"] == expected["after"]
    losses = [{entry["step"]: entry["loss"] for entry in policy["history"]} for policy in (expected, found)]
    assert all(losses[1][step] == loss for step, loss in losses[0].items() if step in losses[1])
    left = {entry.name for entry in tmp_path.iterdir()} - {"cache", "model"}
    assert left == {"log.jsonl", "whole", "killed"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_exits_with_a_clear_line(number: int, log: Path, model_folder: Path, tmp_path: Path) -> None:
    run = start(model_folder, tmp_path / "policy")
    wait_for_step(tmp_path / "policy", 1)
    run.send_signal(number)
    out, error = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    assert out == ""
    last = error.strip().splitlines()[-1]
    assert last.startswith("copydesk: interrupted after step ") and "--resume" in last
    step = int(last.split("step ")[1].split(" ")[0])
    unfinished = tmp_path / "policy.unfinished"
    assert sorted(entry.name for entry in unfinished.iterdir()) == [f"checkpoint-{step}", "run.json"]
    if number == signal.SIGTERM:  # what either of them leaves is the same
        resumed = start(model_folder, tmp_path / "policy", "--resume")
        out, error = resumed.communicate(timeout=120)
        assert resumed.returncode == 0, error
        assert json.loads(out)["history"][-1]["step"] == STEPS


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
    whole = start(model_folder, tmp_path / "whole", *options)
    out, error = whole.communicate(timeout=240)
    assert whole.returncode == 0, error
    unfinished = tmp_path / "killed.unfinished"
    for stage in (unfinished / "cost_model.unfinished", unfinished):
        killed = start(model_folder, tmp_path / "killed", "--resume", *options)
        deadline = time.monotonic() + 120
        while not any(stage.glob("checkpoint-*")) and time.monotonic() < deadline:
            time.sleep(0.005)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    assert (unfinished / "cost_model" / "cost_model.json").is_file()
    resumed = start(model_folder, tmp_path / "killed", "--resume", *options)
    again, error = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, error
    assert "fitting a cost model" not in error
    for file in ("adapter_model.safetensors", "cost_model/cost_model.safetensors"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert json.loads(again)["after"] == json.loads(out)["after"]
    assert not unfinished.exists()
