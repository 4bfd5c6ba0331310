"""Run a benchmark: make each log, train every method on it, play the rounds of every column, and write the table.

Work that is already in the run's folder is read and not repeated.
"""

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
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from copydesk import embedded
from copydesk.data.cost import EditCost
from copydesk.data.jsonl import load_log, write_jsonl
from copydesk.data.record import Context, EditRecord
from copydesk.ensemble import LateEnsemble
from copydesk.ensemble.rules import list_late_methods
from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.models.load import load_model, quiet_libraries
from copydesk.policies import LocalPolicy, Policy
from copydesk.policies.prompted import CipherPolicy, IclPolicy, Learner, OraclePolicy, RetrievalMemory
from copydesk.policies.prompted.retrieval import choose_encoder
from copydesk.report import summarize_rounds, write_report
from copydesk.report.columns import Scenario, parse_scenario
from copydesk.simulate.config import (
    BASE_METHOD,
    ORACLE_METHOD,
    ExperimentConfig,
    LogRun,
    list_log_runs,
    make_online_user,
    parse_prompted_method,
    parse_scenario_arg,
    parse_training_method,
)
from copydesk.simulate.llm_users import UserPool, read_llm_usage
from copydesk.simulate.protocol import (
    Round,
    build_log,
    draw_online_documents,
    generate_responses,
    play_late,
    play_live,
    simulate_edits,
)
from copydesk.simulate.run_folder import RunFolder, read_rounds, write_json, write_rounds
from copydesk.simulate.seeds import SeedStream
from copydesk.simulate.tasks import get_task
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.teach import PolicyTrainer, ReferencePolicy, load_reference_policy
from copydesk.simulate.timer import StepTimer
from copydesk.training.policy_file import POLICY_FILE
from copydesk.utils.atomic import atomic_folder


class LogRunPlayer:
    """Plays one log run of a benchmark: a log, the policies learned from it, and their rounds."""

    def __init__(self, settings: ExperimentConfig, log_run: LogRun, folder: RunFolder) -> None:
        self.settings = settings
        self.log_run = log_run
        self.folder = folder
        self.clock = StepTimer()
        self.task: Task = get_task(log_run.task)
        self.users = UserPool(settings, folder)

    def play(self) -> None:
        """Play every method in every column.

        Raises:
            InputError: a model, a document source or an LLM cannot be reached, or nothing can be learned from the log.
        """
        try:
            for method in self.settings.methods:
                if method not in list_late_methods():
                    self._play_alone(method)
            if self.settings.learns_online:
                self._play_late()
        finally:
            self._save_seconds()
            self.users.append_usage(self.log_run)

    @cached_property
    def reference_policy(self) -> ReferencePolicy:
        """π_ref."""
        with self.clock("load", "loading the model"):
            return load_reference_policy(self.settings.model)

    @cached_property
    def edit_cost(self) -> EditCost:
        """Δ_edit, in the model's sub-tokens."""
        return EditCost(cap=self.settings.c_max, tokenizer=self.settings.model)

    @cached_property
    def log(self) -> list[EditRecord]:
        """The offline log, made if it is not in the folder yet."""
        file = self.folder.log_path(self.log_run)
        if not file.exists():
            log_run, contexts = self.log_run, self.task.draw_offline(self.log_run.edits, self.log_run.seed)
            with self.clock("log", f"{log_run.name}: {log_run.edits} responses, edited by the {log_run.log_user} user"):
                sampling = self.settings.sampling(1.0)
                responses = generate_responses(
                    self.reference_policy.policy, contexts, log_run.seed, sampling, SeedStream.LOG_RESPONSES
                )
                user = self.users(log_run.log_user)
                write_jsonl(file, build_log(BASE_METHOD, self.task, user, contexts, responses, log_run.seed))
        return load_log(file)

    @cached_property
    def contexts(self) -> list[Document]:
        """The contexts of the online rounds."""
        return draw_online_documents(self.task, self.settings.rounds, self.log_run.seed, self.log)

    @cached_property
    def trainer(self) -> PolicyTrainer:
        """The log, encoded for all methods."""
        return PolicyTrainer(self.reference_policy, self.log, self.edit_cost, self.settings.max_length, self.clock)

    def _play_alone(self, method: str) -> None:
        """Play a method alone wherever it has not played yet."""
        for column in self.log_run.scenarios:
            file = self.folder.rounds_path(column.name, method, self.log_run.seed)
            if file.exists():
                continue
            if parse_prompted_method(method):
                rounds = self._play_live(method, (method,), column)
            else:
                rounds = self._simulate_edits(method, self._load_or_generate_responses(method), column)
            write_rounds(file, rounds)
            self.users.mark_finished()

    def _play_late(self) -> None:
        """Play the late ensembles, some of whose arms learn from every edit."""
        for column in self.log_run.scenarios:
            for method in self.settings.select_methods(column):
                file = self.folder.rounds_path(column.name, method, self.log_run.seed)
                if method in list_late_methods() and not file.exists():
                    write_rounds(file, self._play_live(method, self.settings.ensemble_arms, column))
                    self.users.mark_finished()

    def _simulate_edits(self, method: str, responses: Sequence[str], column: Scenario) -> list[Round]:
        user = make_online_user(column, self.users, self.settings.rounds)
        with self.clock(f"edit.{method}", f"{self.log_run.name}: {user.name} edits what {method} wrote"):
            return simulate_edits(
                method, method, self.task, user, self.contexts, responses, self.log_run.seed, self.edit_cost
            )

    def _play_live(self, method: str, arms: Sequence[str], column: Scenario) -> list[Round]:
        settings, seed = self.settings, self.log_run.seed
        learners = {arm: self._build_learner(arm) for arm in arms if parse_prompted_method(arm)}
        alone = {
            arm: read_rounds(self.folder.rounds_path(column.name, arm, seed)) for arm in arms if arm not in learners
        }
        # A learner alone is an ensemble of one arm, which every rule plays.
        rule = settings.make_rule(method if method in list_late_methods() else "late")
        user = make_online_user(column, self.users, settings.rounds)
        with self.clock(f"play.{method}", f"{self.log_run.name}: {settings.rounds} rounds of {method}, one by one"):
            return play_live(
                LateEnsemble(list(arms), rule, seed), alone, learners, method, self.task, user, self.contexts, seed,
                self.edit_cost, settings.sampling(),
            )  # fmt: skip

    def _load_or_generate_responses(self, method: str) -> list[str]:
        """The responses in every round of a policy that does not learn online; they do not depend on the user."""
        file = self.folder.answers_path(self.log_run, method)
        if not file.exists():
            policy = self._open_policy(method)
            with self.clock(f"play.{method}", f"{self.log_run.name}: {self.settings.rounds} rounds of {method}"):
                write_json(file, generate_responses(policy, self.contexts, self.log_run.seed, self.settings.sampling()))
        responses: list[str] = json.loads(file.read_text(encoding="utf-8"))
        return responses

    def _open_policy(self, method: str) -> Policy:
        if method == BASE_METHOD:
            return self.reference_policy.policy
        if method == ORACLE_METHOD:
            documents = {document.context: document for document in self.contexts}

            def taste(context: Context) -> str:
                return ", ".join(self.task.list_preferences(documents[str(context)]))

            return OraclePolicy(method, self.reference_policy.policy, taste)
        return self._load_or_train(method)

    def _load_or_train(self, method: str) -> Policy:
        """A trained policy, from its folder or trained now."""
        target = self.folder.policy_path(self.log_run, method)
        if target.exists():
            model, tokenizer, _ = load_model(str(target))
            return LocalPolicy(method, model, tokenizer)
        name = parse_training_method(method)
        assert name is not None
        training = self.settings.make_train_config(name, self.log_run.seed)
        unseen: Sequence[Round] = []
        if METHODS[name].on_policy:
            unseen = self._simulate_edits(
                BASE_METHOD,
                self._load_or_generate_responses(BASE_METHOD),
                parse_scenario(f"{self.log_run.task}/{self.log_run.log_user}"),
            )
        with atomic_folder(target, marker=POLICY_FILE) as staged:
            return self.trainer.train(method, training, staged, unseen)

    def _build_learner(self, method: str) -> Learner:
        """A prompt learner that has learned from the log."""
        known = parse_prompted_method(method)
        assert known is not None
        kind, k = known
        writer = self.reference_policy.policy
        encoder = choose_encoder(writer, self.settings.encoder)
        learner: Learner
        learner = (
            IclPolicy(method, writer, RetrievalMemory(encoder), k)
            if kind == "icl"
            else CipherPolicy(method, writer, RetrievalMemory(encoder), k)
        )
        with self.clock(f"train.{method}", f"{self.log_run.name}: {method} reads {len(self.log)} edits"):
            learner.learn(self.log)
        return learner

    def _save_seconds(self) -> None:
        """Add what this run took to what the runs before it took."""
        file = self.folder.seconds_path(self.log_run)
        before: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        now = self.clock.compute_durations()
        if len(now) > 1:  # something was done, besides looking whether anything was left to do
            write_json(file, {name: round(before.get(name, 0.0) + now.get(name, 0.0), 2) for name in {**before, **now}})


def play_log_run(settings: ExperimentConfig, log_run: LogRun, path: Path) -> None:
    """Play the unfinished parts of a log run."""
    LogRunPlayer(settings, log_run, RunFolder(path)).play()


def choose_jobs(settings: ExperimentConfig) -> int:
    """The default number of log runs played at a time: as many as there are cores, with the embedded model.

    A larger model has all cores, or the GPU, to itself.
    """
    if settings.model != embedded.NAME or settings.users or torch.cuda.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_experiment(settings: ExperimentConfig, path: Path, *, jobs: int = 1, resume: bool = False) -> dict[str, Any]:
    """Play every log run that is not finished, and write `rounds.jsonl`, `results.json` and `report.html`.

    Args:
        settings: of the benchmark.
        path: its folder.
        jobs: log runs played at a time, each in a process with one thread. With 1 they are played in this process, with
            as many threads as torch uses.
        resume: go on in a folder that holds a run of the same settings.

    Returns:
        What results.json holds.

    Raises:
        InputError: the folder cannot be used, or a log run cannot be played.
    """
    folder = RunFolder(path)
    folder.prepare(settings, resume=resume)
    todo = list_log_runs(settings)
    if jobs == 1:
        for log_run in tqdm(todo, desc="logs", disable=None):
            play_log_run(settings, log_run, path)
    else:
        _run_in_parallel(settings, todo, path, jobs)
    return write_experiment_results(settings, folder)


def _run_in_parallel(settings: ExperimentConfig, todo: Sequence[LogRun], path: Path, jobs: int) -> None:
    with ProcessPoolExecutor(min(jobs, len(todo)), mp_context=_get_worker_context(), initializer=_init_worker) as pool:
        waiting = [pool.submit(play_log_run, settings, log_run, path) for log_run in todo]
        try:
            for done in tqdm(as_completed(waiting), desc="logs", total=len(waiting), disable=None):
                done.result()
        except BrokenProcessPool:
            raise InputError(
                "a process of the benchmark was killed, perhaps for lack of memory; run again with --resume --jobs 1"
            ) from None
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # what they had not finished is not there
            raise


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
        for step, taken in json.loads(folder.seconds_path(log_run).read_text(encoding="utf-8")).items():
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
                if method in list_late_methods() and not settings.learns_online:
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
