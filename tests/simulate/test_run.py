"""Whole small benchmarks on the embedded model."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.gateways import until
from tests.support.processes import Command

from copydesk.errors import InputError
from copydesk.report import summarize_rounds
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.player import LogRunPlayer
from copydesk.simulate.run import run_experiment
from copydesk.simulate.run_folder import RunFolder

pytestmark = pytest.mark.slow

SMALL = ExperimentConfig(
    columns=("email/strong", "email/strong-to-other", "email/strong-then-other"),
    methods=("base", "sft", "dpo", "late"),
    rules=("late-thompson",),
    seeds=(0, 1),
    rounds=8,
    edits=12,
    held_out_edits=6,
    temperature=0.7,
    log_temperature=1.0,
    recipe={"sft": {"epochs": 1.0}, "dpo": {"epochs": 1.0}},
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("bench") / "out"
    return folder, run_experiment(SMALL, folder)


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]


def test_all_figures_are_computed_from_the_rounds(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    rounds = rounds_of(folder)
    assert summarize_rounds(rounds, results["settings"], results["seconds"]) == results
    assert results == json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["columns"] == list(SMALL.columns)
    assert len(rounds) == 8 * 2 * (4 + 5 + 5)
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert {"log", "train.sft", "train.dpo", "play.sft", "total"} <= set(results["seconds"])
    assert results["settings"]["recipe"]["sft"]["epochs"] == 1.0


def test_the_same_policies_meet_different_users(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = finished
    wrote: dict[str, list[str]] = {}
    got: dict[str, list[str]] = {}
    for one in rounds_of(folder):
        if one["method"] == "sft" and one["seed"] == 0:
            wrote.setdefault(one["user"], []).append(one["response"])
            got.setdefault(one["user"], []).append(one["edit"])
    assert wrote["strong"] == wrote["strong-to-other"] == wrote["strong-then-other"]
    assert got["strong-then-other"] == got["strong"][:4] + got["strong-to-other"][4:] != got["strong"]


def test_the_late_ensemble_plays_what_its_arms_played(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = finished
    rounds = rounds_of(folder)
    alone = {(r["user"], r["seed"], r["t"], r["policy"]): r for r in rounds if not r["method"].startswith("late")}
    late = [r for r in rounds if r["method"].startswith("late")]
    assert {r["method"] for r in late} == {"late", "late-thompson"}
    assert {r["policy"] for r in late} == {"sft", "dpo"}
    for one in late:
        played = alone[one["user"], one["seed"], one["t"], one["policy"]]
        assert (one["response"], one["edit"], one["cost"]) == (played["response"], played["edit"], played["cost"])


def test_a_seed_redraws_everything(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = finished
    first, second = ((folder / "logs" / f"email-strong-n12-{seed}.jsonl").read_text() for seed in (0, 1))
    assert not {json.loads(line)["context"] for line in first.splitlines()} & {
        json.loads(line)["context"] for line in second.splitlines()
    }


def test_what_is_finished_is_never_run_again(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)

    def never(self: LogRunPlayer) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(LogRunPlayer, "reference_policy", property(never))
    again = run_experiment(SMALL, folder, resume=True)
    assert again == finished[1]
    fewer = run_experiment(SMALL.replace(seeds=(1,), methods=("base", "dpo", "late"), rules=()), folder, resume=True)
    assert fewer["methods"] == ["base", "dpo", "late"]
    with pytest.raises(AssertionError, match=r"was loaded"):
        run_experiment(SMALL.replace(seeds=(0, 1, 2)), folder, resume=True)


def test_other_settings_are_another_run(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = finished
    with pytest.raises(InputError, match=r"there is a run already; continue it with --resume"):
        run_experiment(SMALL, folder)
    with pytest.raises(InputError, match=r"--resume: the run in .* had rounds 8, not 9"):
        run_experiment(SMALL.replace(rounds=9), folder, resume=True)
    with pytest.raises(InputError, match=r"had recipe"):
        run_experiment(SMALL.replace(recipe={}), folder, resume=True)
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match=r"holds other things"):
        run_experiment(SMALL, tmp_path)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_a_cell_ends_the_run_in_one_line(tmp_path: Path, jobs: int) -> None:
    settings = SMALL.replace(users={"strong": "./no-model"}, columns=("email/strong",), rules=())
    with pytest.raises(InputError) as error:
        run_experiment(settings, tmp_path / "out", jobs=jobs)
    assert "./no-model" in str(error.value) and "\n" not in str(error.value)
    # Nothing was finished, so there is no run yet to go on with.
    RunFolder(tmp_path / "out").prepare(settings.replace(rounds=9), resume=False)


def test_killed_before_it_began_it_can_begin(tmp_path: Path) -> None:
    (tmp_path / ".copydesk-0123.tmp").write_text("{")
    RunFolder(tmp_path).prepare(SMALL, resume=False)
    shutil.rmtree(tmp_path / "rounds")
    RunFolder(tmp_path).prepare(SMALL, resume=True)
    assert (tmp_path / "rounds").is_dir()


def test_prompt_learners_play_and_can_be_arms(tmp_path: Path) -> None:
    settings = ExperimentConfig(
        columns=("email/strong",),
        methods=("base", "oracle", "icl-2", "cipher-1", "late"),
        arms=("base", "icl-2"),
        seeds=(0,),
        rounds=4,
        edits=4,
        held_out_edits=0,
        max_new_tokens=24,
    )
    results = run_experiment(settings, tmp_path / "out")
    rounds = rounds_of(tmp_path / "out")
    assert results["methods"] == ["base", "oracle", "icl-2", "cipher-1", "late"]
    assert [r["policy"] for r in rounds if r["method"] == "late"][:2] == ["base", "icl-2"]
    assert all(r["policy"] == r["method"] for r in rounds if r["method"] != "late")


def test_killed_anywhere_cells_side_by_side_go_on_to_the_end_of_one_after_the_other(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    config = tmp_path / "small.toml"
    config.write_text(
        "rounds = 8\nedits = 12\nheld_out_edits = 6\ntemperature = 0.7\nlog_temperature = 1.0\nseeds = [0, 1]\n"
        "[recipe.sft]\nepochs = 1.0\n[recipe.dpo]\nepochs = 1.0\n"
    )
    words = ["bench", "paper", "--config", config, "--out", folder, "--columns", "email/strong"]
    words += ["--methods", "base,sft", "--jobs", "2", "--json"]
    for number, part in ((signal.SIGTERM, "answers"), (signal.SIGKILL, "policies/*")):
        seen = len(list(folder.glob(f"{part}/*")))
        run = Command(*words, *(["--resume"] if folder.exists() else []), starts_processes=True)
        until(
            lambda part=part, seen=seen, run=run: len(list(folder.glob(f"{part}/*"))) > seen or run.code is not None,
            100,
        )
        workers = psutil.Process(run.pid).children(recursive=True)
        assert workers
        run.send(number)
        if number == signal.SIGTERM:
            assert run.wait() == 143, run.err
            assert run.err.splitlines()[-1] == "copydesk: interrupted; nothing half-written was left behind"
        else:
            assert run.wait() == -signal.SIGKILL, run.err
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive, "a process goes on although the one that started it has ended"
    done = Command(*words, "--resume", starts_processes=True)
    assert done.wait(100) == 0, done.err
    cells = json.loads(done.out)["cells"]["email/strong"]
    assert cells == {method: finished[1]["cells"]["email/strong"][method] for method in ("base", "sft")}
