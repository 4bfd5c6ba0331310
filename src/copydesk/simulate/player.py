"""Plays one log of an experiment: makes it, trains every method on it, and plays the rounds of its columns.

Work that is already in the run's folder is read and not repeated.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import accumulate, pairwise
from typing import Any

from copydesk.data.cost import EditCost
from copydesk.data.jsonl import load_log, write_jsonl
from copydesk.data.record import Context, EditRecord
from copydesk.data.repetition import trim_repeats
from copydesk.ensemble import LateEnsemble
from copydesk.ensemble.rules import list_late_methods
from copydesk.errors import Interrupted
from copydesk.method_registry import METHODS
from copydesk.models.load import load_model
from copydesk.policies import LocalPolicy, Policy, open_policy
from copydesk.policies.prompted import CipherPolicy, IclPolicy, Learner, OraclePolicy, RetrievalMemory
from copydesk.policies.prompted.retrieval import choose_encoder
from copydesk.report.columns import Scenario
from copydesk.simulate.config import BASE_METHOD, ORACLE_METHOD, PERSONAL_METHODS, ExperimentConfig
from copydesk.simulate.llm_users import UserPool
from copydesk.simulate.log_run import LogRun, make_online_user
from copydesk.simulate.protocol import (
    Arm,
    LiveArm,
    Round,
    build_log,
    generate_responses,
    play,
    simulate_edits,
)
from copydesk.simulate.run_folder import RunFolder, read_rounds, write_json, write_rounds
from copydesk.simulate.seeds import SeedStream
from copydesk.simulate.tasks import get_task
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.tasks.scripted import ScriptedTask
from copydesk.simulate.timer import StepTimer
from copydesk.simulate.users import User
from copydesk.training.config import TrainConfig
from copydesk.training.policy_file import compute_data_sha256
from copydesk.training.prepare import ReferencePolicy, TrainingInputs, build_training_inputs, load_reference_policy
from copydesk.training.train import train_one


class LogRunPlayer:
    """Plays a log run, or a part of it: the policies learned from one log, and their rounds.

    Args:
        settings: of the experiment.
        log_run: the log.
        folder: of the run.
        part: the name of this part of the work, if several processes share it.
    """

    def __init__(self, settings: ExperimentConfig, log_run: LogRun, folder: RunFolder, part: str = "") -> None:
        self.settings = settings
        self.log_run = log_run
        self.folder = folder
        self.part = part
        self.clock = StepTimer()
        self.task: Task = get_task(log_run.task)
        if isinstance(self.task, ScriptedTask):
            self.task = replace(self.task, unseen_values=settings.unseen_values)
        self.users = UserPool(settings, folder)
        self._inputs: dict[Any, TrainingInputs] = {}

    def play(self, methods: Sequence[str] | None = None) -> None:
        """Play methods in every column.

        Args:
            methods: the rows to play; all by default. Without any, only the log is made.

        Raises:
            InputError: a model, a document source or an LLM cannot be reached, or nothing can be learned from the log.
        """
        chosen = self.settings.methods if methods is None else methods
        try:
            self.make_logs()
            for method in chosen:
                if method not in list_late_methods():
                    self.play_alone(method)
            if self.settings.learns_online:
                for column in self.log_run.scenarios:
                    for method in self.settings.select_methods(column):
                        if method in list_late_methods() and (methods is None or method in methods):
                            self._play_live(method, self.settings.ensemble_arms, column)
        finally:
            self._save_seconds()
            self.users.append_usage(self.log_run)

    def make_logs(self) -> None:
        """Make the log, and the held-out edits if anything is trained, if they are not in the folder yet."""
        if self.settings.needs_log:
            _ = self.log
            if any(name in (*METHODS, *PERSONAL_METHODS) for name in self.settings.methods):
                _ = self.held_out

    def play_alone(self, method: str) -> None:
        """Play a method alone wherever it has not played yet."""
        for column in self.log_run.scenarios:
            if self.settings.find_learner(method):
                self._play_live(method, (method,), column)
                continue
            file = self.folder.rounds_path(column.name, method, self.log_run.seed)
            if not file.exists():
                responses = self.load_or_generate_responses(method)
                user = make_online_user(column, self.users, self.settings.rounds)
                write_rounds(file, self.simulate_edits(method, method, user, responses))
                self.users.mark_finished()

    @cached_property
    def reference_policy(self) -> ReferencePolicy:
        """π_ref."""
        with self.clock("load", "loading the model"):
            trained = [name for name in self.settings.methods if name in METHODS]
            full = any(self.settings.make_train_config(name, 0, self.log_run.task).full for name in trained)
            return load_reference_policy(self.settings.model, full=full)

    @cached_property
    def base_policy(self) -> LocalPolicy:
        """π_ref as a policy."""
        return LocalPolicy(BASE_METHOD, self.reference_policy.model, self.reference_policy.tokenizer)

    @cached_property
    def edit_cost(self) -> EditCost:
        """Δ_edit."""
        unit = self.settings.cost_unit
        return EditCost(unit=unit, cap=self.settings.c_max, tokenizer=self.settings.model)

    @cached_property
    def subtoken_cost(self) -> EditCost | None:
        """Δ_edit in the model's sub-tokens, unless the cost is that already."""
        if self.settings.cost_unit == "subtoken":
            return None
        return EditCost(unit="subtoken", cap=self.settings.c_max, tokenizer=self.settings.model)

    @cached_property
    def _documents(self) -> list[Document]:
        """The contexts of the log, and after them those of the held-out edits."""
        count = self.log_run.edits + self.settings.held_out_edits
        return self.task.draw_offline(count, self.log_run.seed)

    @cached_property
    def log(self) -> list[EditRecord]:
        """The offline log, made if it is not in the folder yet."""
        if not self.settings.needs_log:
            return [record for file in self.settings.exclude_logs for record in load_log(file)]
        file = self.folder.log_path(self.log_run)
        if not file.exists():
            log_run = self.log_run
            who = f"a simulated user ({log_run.log_user})" if not self.settings.personal else "simulated people"
            with self.clock("log", f"{log_run.name}: {log_run.edits} responses, edited by {who}"):
                write_jsonl(file, self.make_log(self._documents[: log_run.edits], 1))
        return load_log(file)

    @cached_property
    def held_out(self) -> list[EditRecord]:
        """The edits that policies are measured on, by the same user as those of the log."""
        if not self.settings.held_out_edits:
            return []
        file = self.folder.held_out_path(self.log_run)
        if not file.exists():
            first, count = self.log_run.edits + 1, self.settings.held_out_edits
            with self.clock("held_out", f"{self.log_run.name}: {count} more edits, to measure policies on"):
                write_jsonl(file, self.make_log(self._documents[first - 1 :], first))
        return load_log(file)

    def make_log(self, documents: Sequence[Document], first: int) -> list[EditRecord]:
        """Edits of responses of π_ref, of which the first has that number."""
        responses = self.write_log_responses(documents, first)
        user = self.users(self.log_run.log_user)
        return build_log(BASE_METHOD, self.task, user, documents, responses, self.log_run.seed, first)

    def write_log_responses(self, documents: Sequence[Document], first: int) -> list[str]:
        """The responses of π_ref in the log."""
        sampling, seed = self.settings.sampling(self.settings.log_temperature), self.log_run.seed
        written = generate_responses(self.base_policy, documents, seed, sampling, SeedStream.LOG_RESPONSES, first)
        length = self.settings.trim_repeats
        return [trim_repeats(text, length) for text in written] if length else written

    @cached_property
    def contexts(self) -> list[Document]:
        """The contexts of the online rounds."""
        known = {str(record.context) for record in self.log}
        if self.settings.needs_log and self.settings.held_out_edits:
            known |= {document.context for document in self._documents}
        return self.task.draw_online(self.settings.rounds, self.log_run.seed, frozenset(known))

    def simulate_edits(self, policy: str, method: str, user: User, responses: Sequence[str]) -> list[Round]:
        """The rounds in which a user edits what a policy wrote."""
        with self.clock(f"edit.{method}", f"{self.log_run.name}: {user.name} edits what {policy} wrote"):
            return simulate_edits(
                policy,
                method,
                self.task,
                user,
                self.contexts,
                responses,
                self.log_run.seed,
                self.edit_cost,
                subtoken_cost=self.subtoken_cost,
                trim=self.settings.trim_repeats,
            )

    def _play_live(self, method: str, arms: Sequence[str], column: Scenario) -> None:
        """Play an ensemble, some of whose arms learn from every edit; a learner alone is an ensemble of one arm."""
        settings, seed = self.settings, self.log_run.seed
        file = self.folder.rounds_path(column.name, method, seed)
        if file.exists():
            return
        user = make_online_user(column, self.users, settings.rounds)
        playing: dict[str, Arm] = {}
        for arm in arms:
            if settings.find_learner(arm):
                learner = self._build_learner(arm)
                playing[arm] = LiveArm(learner, partial(self._play_round, learner, user))
            else:
                playing[arm] = read_rounds(self.folder.rounds_path(column.name, arm, seed))
        rule = settings.make_rule(method if method in list_late_methods() else "late")
        ensemble = LateEnsemble(list(arms), rule, seed)
        with self.clock(f"play.{method}", f"{self.log_run.name}: {settings.rounds} rounds of {method}, one by one"):
            write_rounds(file, play(ensemble, {None: playing}, settings.rounds, method))
        self.users.mark_finished()

    def _play_round(self, learner: Learner, user: User, t: int) -> Round:
        document, seed = self.contexts[t - 1], self.log_run.seed
        responses = generate_responses(learner, [document], seed, self.settings.sampling(), first=t)
        return simulate_edits(
            learner.name,
            learner.name,
            self.task,
            user,
            [document],
            responses,
            seed,
            self.edit_cost,
            first=t,
            subtoken_cost=self.subtoken_cost,
            trim=self.settings.trim_repeats,
        )[0]

    def load_or_generate_responses(self, method: str) -> list[str]:
        """The responses in every round of a policy that does not learn online; they do not depend on the user."""
        file = self.folder.answers_path(self.log_run, method)
        if not file.exists():
            policy = self._open_policy(method)
            with self.clock(f"play.{method}", f"{self.log_run.name}: {self.settings.rounds} rounds of {method}"):
                write_json(file, generate_responses(policy, self.contexts, self.log_run.seed, self.settings.sampling()))
        responses: list[str] = json.loads(file.read_text(encoding="utf-8"))
        return responses

    def _open_policy(self, method: str) -> Policy:
        if method in self.settings.policies:
            return open_policy(method, self.settings.policies[method], self.users.keys)
        if method == BASE_METHOD:
            return self.base_policy
        if method == ORACLE_METHOD:
            documents = {document.context: document for document in self.contexts}

            def taste(context: Context) -> str:
                return ", ".join(self.task.list_preferences(documents[str(context)]))

            return OraclePolicy(method, self.base_policy, taste)
        return self.load_or_train(method)

    def load_or_train(self, method: str) -> Policy:
        """A trained policy, from its folder or trained now."""
        target = self.folder.policy_path(self.log_run, method)
        if not target.exists():
            name = method.partition("-")[0]
            log_run = self.log_run
            training = self.settings.make_train_config(name, log_run.seed, log_run.task, log_run.edits)
            log = self.select_rows(method)
            with self.clock(f"train.{method}", f"{self.log_run.name}: training {method} on {len(log)} edits"):
                try:
                    train_one(self._prepare_inputs(log, training), training, target, resume=True)
                except Interrupted as exc:  # its message is about `copydesk train`
                    raise Interrupted(exc.number) from None
        model, tokenizer, _ = load_model(str(target))
        return LocalPolicy(method, model, tokenizer)

    def _prepare_inputs(self, log: Sequence[EditRecord], training: TrainConfig) -> TrainingInputs:
        """The log as methods read it; those that read it alike share one reference pass."""
        sha256, cost = compute_data_sha256(log), training.cost
        key = (
            *(sha256, training.max_length, training.cut_answers, training.weigh),
            *(cost.source, cost.unit, cost.normalize, cost.c_max),
        )
        if key not in self._inputs:
            self._inputs[key] = build_training_inputs(
                log, sha256, self.reference_policy, training, held_out=self.held_out, costs=True
            )
        return self._inputs[key]

    def select_rows(self, method: str) -> list[EditRecord]:
        """The rows of the log that a method learns from."""
        return self.log

    def _build_learner(self, method: str) -> Learner:
        """A prompt learner that has learned from the log."""
        known = self.settings.find_learner(method)
        assert known is not None
        kind, k = known
        writer = self.base_policy
        memory: RetrievalMemory[Any] = RetrievalMemory(choose_encoder(writer, self.settings.encoder))
        learner: Learner
        learner = IclPolicy(method, writer, memory, k) if kind == "icl" else CipherPolicy(method, writer, memory, k)
        with self.clock(f"train.{method}", f"{self.log_run.name}: {method} reads {len(self.log)} edits"):
            learner.learn(self.log)
        return learner

    def _save_seconds(self) -> None:
        """Add what this run took to what the runs before it took."""
        file = self.folder.seconds_path(self.log_run, self.part)
        before: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        now = self.clock.compute_durations()
        if len(now) > 1:  # something was done, besides looking whether anything was left to do
            write_json(file, {name: round(before.get(name, 0.0) + now.get(name, 0.0), 2) for name in {**before, **now}})


class PeoplePlayer(LogRunPlayer):
    """Plays a log that several people of different tastes share.

    All people meet the same documents, and a policy writes the same of them for all: a difference between two people is
    one of their tastes.
    """

    def make_log(self, documents: Sequence[Document], first: int) -> list[EditRecord]:
        """The edits of all people, one person's after the other's."""
        responses, people = self.write_log_responses(documents, first), self.settings.personal_users
        bounds = pairwise(accumulate((person.edits for person in people), initial=0))
        rows: list[EditRecord] = []
        for person, (start, end) in zip(people, bounds, strict=True):
            own = documents[start:end], responses[start:end]
            rows += build_log(BASE_METHOD, self.task, person.user, *own, self.log_run.seed)
        return rows

    def select_rows(self, method: str) -> list[EditRecord]:
        """Everybody's rows for `shared`, a person's own for `own-PERSON`."""
        _, _, person = method.partition("-")
        return [record for record in self.log if record.user == person] if person else self.log

    def play_alone(self, method: str) -> None:
        """Play a method alone with everybody with whom it has not played yet."""
        for person in self.settings.personal_users:
            policy = f"{method}-{person.name}" if method == PERSONAL_METHODS[1] else method
            file = self.folder.rounds_path(f"{self.task.name}/{person.name}", method, self.log_run.seed)
            if not file.exists():
                responses = self.load_or_generate_responses(policy)
                write_rounds(file, self.simulate_edits(policy, method, person.user, responses))


def make_player(settings: ExperimentConfig, log_run: LogRun, folder: RunFolder, part: str = "") -> LogRunPlayer:
    """The player of a log run."""
    kind = PeoplePlayer if settings.personal else LogRunPlayer
    return kind(settings, log_run, folder, part)
