"""Playing a cell: make its log, teach every method, and play the rounds of every column."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from copydesk.data.cost import EditCost
from copydesk.data.jsonl import load_log, write_jsonl
from copydesk.data.record import Context, EditRecord
from copydesk.ensemble import LateEnsemble
from copydesk.models.load import load_model
from copydesk.policies import LocalPolicy, Policy
from copydesk.policies.prompted import CipherPolicy, IclPolicy, Learner, OraclePolicy, RetrievalMemory
from copydesk.policies.prompted.retrieval import choose_encoder
from copydesk.report.columns import Scenario, parse_scenario
from copydesk.simulate.cell import LogRun
from copydesk.simulate.column import make_online_user
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.live import play_live
from copydesk.simulate.llm_users import UserPool
from copydesk.simulate.methods import (
    BASE_METHOD,
    LATE_METHODS,
    ORACLE_METHOD,
    parse_prompted_method,
    parse_training_method,
)
from copydesk.simulate.protocol import Round, build_log, draw_online_documents, generate_responses, simulate_edits
from copydesk.simulate.run_folder import RunFolder, read_rounds, write_json, write_rounds
from copydesk.simulate.seeds import SeedStream
from copydesk.simulate.tasks import get_task
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.teach import PolicyTrainer, ReferencePolicy, load_reference_policy
from copydesk.simulate.timer import StepTimer
from copydesk.utils.staging import atomic_folder


class LogRunPlayer:
    """One cell of a benchmark under way. What is in the folder already is read, not made."""

    def __init__(self, settings: ExperimentConfig, cell: LogRun, folder: RunFolder) -> None:
        self.settings = settings
        self.cell = cell
        self.folder = folder
        self.clock = StepTimer()
        self.task: Task = get_task(cell.task)
        self.users = UserPool(settings, folder)

    def play(self) -> None:
        """Play every method in every column.

        Raises:
            InputError: a model, a document source or an LLM cannot be reached, or nothing can be learnt from the log.
        """
        try:
            for method in self.settings.methods:
                if method not in LATE_METHODS:
                    self._play_alone(method)
            if self.settings.learns_online:
                self._play_late()
        finally:
            self._save_seconds()
            self.users.append_usage(self.cell)

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
        """What was logged offline."""
        file = self.folder.log_path(self.cell)
        if not file.exists():
            cell, contexts = self.cell, self.task.draw_offline(self.cell.edits, self.cell.seed)
            with self.clock("log", f"{cell.name}: {cell.edits} responses, edited by the {cell.log_user} user"):
                sampling = self.settings.sampling(1.0)
                responses = generate_responses(
                    self.reference_policy.policy, contexts, cell.seed, sampling, SeedStream.LOG_RESPONSES
                )
                user = self.users(cell.log_user)
                write_jsonl(file, build_log(BASE_METHOD, self.task, user, contexts, responses, cell.seed))
        return load_log(file)

    @cached_property
    def contexts(self) -> list[Document]:
        """What is to be answered online."""
        return draw_online_documents(self.task, self.settings.rounds, self.cell.seed, self.log)

    @cached_property
    def trainer(self) -> PolicyTrainer:
        """The log as methods read it."""
        return PolicyTrainer(self.reference_policy, self.log, self.edit_cost, self.settings.max_length, self.clock)

    def _play_alone(self, method: str) -> None:
        """Play a method alone wherever it has not played yet."""
        for column in self.cell.scenarios:
            file = self.folder.rounds_path(column.name, method, self.cell.seed)
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
        for column in self.cell.scenarios:
            for method in self.settings.select_methods(column):
                file = self.folder.rounds_path(column.name, method, self.cell.seed)
                if method in LATE_METHODS and not file.exists():
                    write_rounds(file, self._play_live(method, self.settings.ensemble_arms, column))
                    self.users.mark_finished()

    def _simulate_edits(self, method: str, responses: Sequence[str], column: Scenario) -> list[Round]:
        user = make_online_user(column, self.users, self.settings.rounds)
        with self.clock(f"edit.{method}", f"{self.cell.name}: {user.name} edits what {method} wrote"):
            return simulate_edits(
                method, method, self.task, user, self.contexts, responses, self.cell.seed, self.edit_cost
            )

    def _play_live(self, method: str, arms: Sequence[str], column: Scenario) -> list[Round]:
        settings, seed = self.settings, self.cell.seed
        learners = {arm: self._build_learner(arm) for arm in arms if parse_prompted_method(arm)}
        alone = {
            arm: read_rounds(self.folder.rounds_path(column.name, arm, seed)) for arm in arms if arm not in learners
        }
        rule = settings.make_rule(method)  # one arm alone is played whatever the rule
        user = make_online_user(column, self.users, settings.rounds)
        with self.clock(f"play.{method}", f"{self.cell.name}: {settings.rounds} rounds of {method}, one by one"):
            return play_live(
                LateEnsemble(list(arms), rule, seed), alone, learners, method, self.task, user, self.contexts, seed,
                self.edit_cost, settings.sampling(),
            )  # fmt: skip

    def _load_or_generate_responses(self, method: str) -> list[str]:
        """What a policy that does not learn online writes in every round, whoever reads it."""
        file = self.folder.answers_path(self.cell, method)
        if not file.exists():
            policy = self._open_policy(method)
            with self.clock(f"play.{method}", f"{self.cell.name}: {self.settings.rounds} rounds of {method}"):
                write_json(file, generate_responses(policy, self.contexts, self.cell.seed, self.settings.sampling()))
        responses: list[str] = json.loads(file.read_text(encoding="utf-8"))
        return responses

    def _open_policy(self, method: str) -> Policy:
        if method == BASE_METHOD:
            return self.reference_policy.policy
        if method == ORACLE_METHOD:
            kinds = {document.context: document.kind for document in self.contexts}

            def taste(context: Context) -> str:
                return self.task.describe_taste(kinds[str(context)])

            return OraclePolicy(method, self.reference_policy.policy, taste)
        return self._load_or_train(method)

    def _load_or_train(self, method: str) -> Policy:
        """A trained policy: from its folder, or taught now."""
        target = self.folder.policy_path(self.cell, method)
        if target.exists():
            model, tokenizer, _ = load_model(str(target))
            return LocalPolicy(method, model, tokenizer)
        name = parse_training_method(method)
        assert name is not None
        training = self.settings.make_train_config(name, self.cell.seed)
        unseen: Sequence[Round] = []
        if name == "rl":
            unseen = self._simulate_edits(
                BASE_METHOD,
                self._load_or_generate_responses(BASE_METHOD),
                parse_scenario(f"{self.cell.task}/{self.cell.log_user}"),
            )
        with atomic_folder(target) as staged:
            return self.trainer.train(method, training, staged, unseen)

    def _build_learner(self, method: str) -> Learner:
        """A prompt learner that has read the log."""
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
        with self.clock(f"train.{method}", f"{self.cell.name}: {method} reads {len(self.log)} edits"):
            learner.learn(self.log)
        return learner

    def _save_seconds(self) -> None:
        """Add what this run took to what the runs before it took."""
        file = self.folder.seconds_path(self.cell)
        before: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        now = self.clock.compute_durations()
        if len(now) > 1:  # something was done, besides looking whether anything was left to do
            write_json(file, {name: round(before.get(name, 0.0) + now.get(name, 0.0), 2) for name in {**before, **now}})


def play_log_run(settings: ExperimentConfig, cell: LogRun, path: Path) -> None:
    """Play what is left of a cell."""
    LogRunPlayer(settings, cell, RunFolder(path)).play()
