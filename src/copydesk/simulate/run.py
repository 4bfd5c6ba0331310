"""Run an experiment: make each log, train every method on it, play the rounds of every column, and write the table.

Work that is already in the run's folder is read and not repeated.
"""

import json
import logging
import multiprocessing
import os
import platform
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from copydesk import embedded
from copydesk.ensemble import LateEnsemble
from copydesk.ensemble.rules import list_late_methods
from copydesk.errors import InputError, Interrupted
from copydesk.method_registry import METHODS
from copydesk.models.load import quiet_libraries
from copydesk.report import summarize_rounds, write_report
from copydesk.simulate.config import ExperimentConfig, parse_scenario_arg
from copydesk.simulate.llm_users import read_llm_usage
from copydesk.simulate.log_run import LogRun, list_log_runs
from copydesk.simulate.player import make_player
from copydesk.simulate.protocol import Round, play
from copydesk.simulate.run_folder import CONFIG_FILE, RunFolder, read_rounds, write_json, write_rounds
from copydesk.utils.atomic import lock_folder

logger = logging.getLogger(__name__)


def play_log_run(
    settings: ExperimentConfig, log_run: LogRun, path: Path, methods: Sequence[str] | None = None, part: str = ""
) -> None:
    """Play the unfinished parts of a log run; the arguments are those of `LogRunPlayer`."""
    make_player(settings, log_run, RunFolder(path), part).play(methods)


def choose_jobs(settings: ExperimentConfig) -> int:
    """The default number of log runs played at a time: as many as there are cores, with the embedded model.

    A larger model has all cores, or the GPU, to itself.
    """
    if settings.model != embedded.NAME or settings.users or torch.cuda.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_experiment(
    settings: ExperimentConfig,
    path: Path,
    *,
    jobs: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    compact: bool = False,
) -> dict[str, Any]:
    """Play every log run that is not finished, and write `rounds.jsonl`, `results.json` and `report.html`.

    Args:
        settings: of the experiment.
        path: its folder.
        jobs: processes, each with one thread. They share out the log runs or, where there are fewer of these, their
            methods. With 1 everything is done in this process, with as many threads as torch uses.
        resume: go on in a folder that holds a run of the same settings.
        overwrite: first remove the run that the folder holds.
        compact: for a run of one log: leave only results, `log.jsonl` and `policies/METHOD`. It cannot be resumed.

    Returns:
        What results.json holds.

    Raises:
        InputError: the folder cannot be used, another run is writing to it, or a log run cannot be played.
    """
    with lock_folder(path):
        if overwrite and (path / CONFIG_FILE).is_file():
            shutil.rmtree(path)
        folder = RunFolder(path)
        folder.prepare(settings, resume=resume)
        return _run_in_folder(settings, folder, jobs=jobs, compact=compact)


def _run_in_folder(settings: ExperimentConfig, folder: RunFolder, *, jobs: int, compact: bool) -> dict[str, Any]:
    path = folder.path
    todo = list_log_runs(settings)
    if jobs == 1:
        for log_run in tqdm(todo, desc="logs", disable=None if len(todo) > 1 else True):
            play_log_run(settings, log_run, path)
    else:
        for stage in _list_stages(settings, todo, jobs):
            _run_in_parallel(settings, stage, path, jobs)
    results = write_experiment_results(settings, folder)
    if compact:
        (log_run,) = todo
        folder.compact(log_run)
    return results


@dataclass(frozen=True)
class _Job:
    """A log run, or some of its methods, as one process plays it."""

    log_run: LogRun
    methods: tuple[str, ...] | None = None
    part: str = ""


def _list_stages(settings: ExperimentConfig, todo: Sequence[LogRun], jobs: int) -> list[list[_Job]]:
    """The jobs, in stages of which each needs the results of the one before."""
    if len(todo) >= jobs:
        return [[_Job(log_run) for log_run in todo]]
    alone = [name for name in settings.methods if name not in list_late_methods()]
    # The longest first, so that the processes end at about the same time.
    alone.sort(key=lambda name: not (name in METHODS and METHODS[name].on_policy))
    late = tuple(name for name in list_late_methods() if settings.learns_online)
    stages = [
        [_Job(log_run, (), "log") for log_run in todo],
        [_Job(log_run, (method,), method) for method in alone for log_run in todo],
        [_Job(log_run, late, "late") for log_run in todo if late],
    ]
    return [stage for stage in stages if stage]


def _run_in_parallel(settings: ExperimentConfig, todo: Sequence[_Job], path: Path, jobs: int) -> None:
    with ProcessPoolExecutor(min(jobs, len(todo)), mp_context=_get_worker_context(), initializer=_init_worker) as pool:
        waiting = {pool.submit(_play_job, settings, job, path): job for job in todo}
        try:
            for done in tqdm(as_completed(waiting), desc="logs", total=len(waiting), disable=None):
                done.result()
                job = waiting[done]
                if job.part:
                    logger.info("%s: %s is finished", job.log_run.name, job.part)
        except BrokenProcessPool:
            raise InputError(
                "a process of the benchmark was killed, perhaps for lack of memory; run again with --resume --jobs 1"
            ) from None
        except BaseException:
            for one in waiting:
                one.cancel()
            for process in multiprocessing.active_children():
                process.terminate()  # what they had not finished is not there
            raise


def _play_job(settings: ExperimentConfig, job: _Job, path: Path) -> None:
    try:
        play_log_run(settings, job.log_run, path, job.methods, job.part)
    except Interrupted as exc:
        os._exit(128 + exc.number)  # training has saved a checkpoint; nothing more is to be begun


def _get_worker_context() -> multiprocessing.context.BaseContext:
    """Processes forked from a server that has loaded torch once; where there is none (Windows), each loads it."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _init_worker() -> None:
    """Prepare a worker process of the benchmark."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its usual one is a semaphore of the system's, which a process that ends leaks
    quiet_libraries()
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # progress bars and messages of several processes would mix


def _exit_with_parent() -> None:
    """End this process when the one that started it is killed; files are written whole, so nothing is lost."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def write_experiment_results(settings: ExperimentConfig, folder: RunFolder) -> dict[str, Any]:
    """Put the late ensembles together and write `rounds.jsonl`, `results.json` and `report.html`.

    All figures are computed from the rounds; returns what results.json holds.
    """
    write_rounds(folder.path / "rounds.jsonl", _iter_rounds(settings, folder))
    with (folder.path / "rounds.jsonl").open(encoding="utf-8") as file:
        rounds = [json.loads(line) for line in file]
    seconds: dict[str, float] = {}
    for log_run in list_log_runs(settings):
        for path in folder.list_seconds_paths(log_run):
            for step, taken in json.loads(path.read_text(encoding="utf-8")).items():
                seconds[step] = round(seconds.get(step, 0.0) + taken, 2)
    usage = read_llm_usage(folder)
    kept = settings.to_json() | {"machine": _describe_machine()} | ({"usage": usage} if usage else {})
    results = summarize_rounds(rounds, json.loads(json.dumps(kept)), seconds)  # as the file gives them back
    write_json(folder.path / "results.json", results)
    write_report(folder.path / "report.html", rounds, results)
    return results


def _iter_rounds(settings: ExperimentConfig, folder: RunFolder) -> Iterator[Round]:
    """Every round, column by column, method by method, seed by seed."""
    if settings.personal:
        yield from _iter_personal_rounds(settings, folder)
        return
    for column in settings.columns:
        for method in settings.select_methods(parse_scenario_arg(column)):
            for seed in settings.seeds:
                if method in list_late_methods() and not settings.learns_online:
                    alone = {arm: read_rounds(folder.rounds_path(column, arm, seed)) for arm in settings.ensemble_arms}
                    ensemble = LateEnsemble(list(alone), settings.make_rule(method), seed)
                    yield from play(ensemble, {None: alone}, settings.rounds, method)
                else:
                    yield from read_rounds(folder.rounds_path(column, method, seed))


def _iter_personal_rounds(settings: ExperimentConfig, folder: RunFolder) -> Iterator[Round]:
    """The rounds of several people, and of an ensemble with a scope for each."""
    task, arms = parse_scenario_arg(settings.columns[0]).task, settings.ensemble_arms
    for seed in settings.seeds:
        alone = {
            person.name: {
                method: read_rounds(folder.rounds_path(f"{task}/{person.name}", method, seed))
                for method in settings.methods
                if method not in list_late_methods()
            }
            for person in settings.personal_users
        }
        for own in alone.values():
            for rounds in own.values():
                yield from rounds
        for method in (name for name in settings.methods if name in list_late_methods()):
            ensemble = LateEnsemble(list(arms), settings.make_rule(method), seed, prior=settings.prior)
            people = {name: {arm: own[arm] for arm in arms} for name, own in alone.items()}
            yield from play(ensemble, people, settings.rounds, method)


def _describe_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
