"""Running a benchmark: every cell that is not finished, then the table of all."""

import json
import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from copydesk import embedded
from copydesk.ensemble import LateEnsemble
from copydesk.errors import InputError
from copydesk.models.load import quiet_libraries
from copydesk.report import summarize_rounds, write_report
from copydesk.simulate.cell import LogRun, list_log_runs
from copydesk.simulate.column import parse_scenario_arg
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.llm_users import read_llm_usage
from copydesk.simulate.methods import LATE_METHODS
from copydesk.simulate.play import play_log_run
from copydesk.simulate.protocol import Round, play_late
from copydesk.simulate.run_folder import RunFolder, read_rounds, write_json, write_rounds


def choose_jobs(settings: ExperimentConfig) -> int:
    """How many cells are played at a time unless told otherwise: as many as there are cores, with the embedded model.

    A larger model has all cores, or the GPU, to itself.
    """
    if settings.model != embedded.NAME or settings.users or torch.cuda.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_experiment(settings: ExperimentConfig, path: Path, *, jobs: int = 1, resume: bool = False) -> dict[str, Any]:
    """Play every cell that is not finished, and write `rounds.jsonl`, `results.json` and `report.html`.

    Args:
        settings: of the benchmark.
        path: its folder.
        jobs: cells played at a time, each in a process and a thread of its own. One is played here, in as many threads
            as torch takes.
        resume: go on in a folder that holds a run of the same settings.

    Returns:
        What results.json holds.

    Raises:
        InputError: the folder cannot be used, or a cell cannot be played.
    """
    folder = RunFolder(path)
    folder.prepare(settings, resume=resume)
    todo = list_log_runs(settings)
    if jobs == 1:
        for cell in tqdm(todo, desc="logs", disable=None):
            play_log_run(settings, cell, path)
    else:
        _run_in_parallel(settings, todo, path, jobs)
    return write_experiment_results(settings, folder)


def _run_in_parallel(settings: ExperimentConfig, todo: Sequence[LogRun], path: Path, jobs: int) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(todo)), mp_context=spawn, initializer=_init_worker) as pool:
        waiting = [pool.submit(play_log_run, settings, cell, path) for cell in todo]
        try:
            for done in tqdm(as_completed(waiting), desc="logs", total=len(waiting), disable=None):
                done.result()
        except BrokenProcessPool:
            raise InputError(
                "a process of the benchmark was killed, perhaps for want of memory; run again with --resume --jobs 1"
            ) from None
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # what they had not finished is not there
            raise


def _init_worker() -> None:
    """What a process of the benchmark does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its usual one is a semaphore of the system's, which a process that ends leaks
    quiet_libraries()
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # bars and remarks of several processes would be a muddle


def write_experiment_results(settings: ExperimentConfig, folder: RunFolder) -> dict[str, Any]:
    """Put the late ensembles together and write `rounds.jsonl`, `results.json` and `report.html`.

    All figures are computed from the rounds; returns what results.json holds.
    """
    write_rounds(folder.path / "rounds.jsonl", _iter_rounds(settings, folder))
    with (folder.path / "rounds.jsonl").open(encoding="utf-8") as file:
        rounds = [json.loads(line) for line in file]
    seconds: dict[str, float] = {}
    for cell in list_log_runs(settings):
        for step, taken in json.loads(folder.seconds_path(cell).read_text(encoding="utf-8")).items():
            seconds[step] = round(seconds.get(step, 0.0) + taken, 2)
    usage = read_llm_usage(folder)
    kept = settings.to_json() | {"machine": _describe_machine()} | ({"usage": usage} if usage else {})
    results = summarize_rounds(rounds, json.loads(json.dumps(kept)), seconds)  # as the file gives them back
    write_json(folder.path / "results.json", results)
    write_report(folder.path / "report.html", rounds, results)
    return results


def _iter_rounds(settings: ExperimentConfig, folder: RunFolder) -> Iterator[Round]:
    """Every round, column by column, method by method, seed by seed."""
    for column in settings.columns:
        for method in settings.select_methods(parse_scenario_arg(column)):
            for seed in settings.seeds:
                if method in LATE_METHODS and not settings.learns_online:
                    alone = {arm: read_rounds(folder.rounds_path(column, arm, seed)) for arm in settings.ensemble_arms}
                    yield from play_late(LateEnsemble(list(alone), settings.make_rule(method), seed), alone, method)
                else:
                    yield from read_rounds(folder.rounds_path(column, method, seed))


def _describe_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
