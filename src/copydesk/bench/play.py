"""Playing a cell: make its log, teach every method, and play the rounds of every column."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from copydesk.bench.cell import Cell
from copydesk.bench.column import online_user
from copydesk.bench.folder import BenchFolder, read_rounds, write_json, write_rounds
from copydesk.bench.methods import BASE, LATE, ORACLE, prompted, trained
from copydesk.bench.settings import BenchSettings
from copydesk.bench.users import Users
from copydesk.ensemble import LateEnsemble
from copydesk.learn.models import load_model
from copydesk.learn.staging import staged_folder
from copydesk.log.cost import EditCost
from copydesk.log.jsonl import load_log, write_jsonl
from copydesk.log.record import Context, EditRecord
from copydesk.policies import LocalPolicy, Policy
from copydesk.policies.prompted import Cipher, IclEdit, Learner, Memory, OracleTaste
from copydesk.policies.prompted.encoder import encoder_for
from copydesk.report.columns import Column, read_column
from copydesk.simulate.clock import Clock
from copydesk.simulate.live import play_live
from copydesk.simulate.luck import Stream
from copydesk.simulate.protocol import Round, answer, edited, log_of, online_documents
from copydesk.simulate.task import Document, Task
from copydesk.simulate.tasks import get_task
from copydesk.simulate.teach import Lesson, Student, load_student


class CellRun:
    """One cell of a benchmark under way. What is in the folder already is read, not made."""

    def __init__(self, settings: BenchSettings, cell: Cell, folder: BenchFolder) -> None:
        self.settings = settings
        self.cell = cell
        self.folder = folder
        self.clock = Clock()
        self.task: Task = get_task(cell.task)
        self.users = Users(settings, folder)

    def play(self) -> None:
        """Play every method in every column.

        Raises:
            InputError: a model, a document source or an LLM cannot be reached, or nothing can be learnt from the log.
        """
        try:
            for method in self.settings.methods:
                if method not in LATE:
                    self._play(method)
            if self.settings.learns_online:
                self._play_late()
        finally:
            self._keep_seconds()
            self.users.keep_usage(self.cell)

    @cached_property
    def student(self) -> Student:
        """π_ref."""
        with self.clock("load", "loading the model"):
            return load_student(self.settings.model)

    @cached_property
    def cost(self) -> EditCost:
        """Δ_edit, in the model's sub-tokens."""
        return EditCost(cap=self.settings.c_max, tokenizer=self.settings.model)

    @cached_property
    def log(self) -> list[EditRecord]:
        """What was logged offline."""
        file = self.folder.log(self.cell)
        if not file.exists():
            cell, contexts = self.cell, self.task.offline(self.cell.edits, self.cell.seed)
            with self.clock("log", f"{cell.name}: {cell.edits} responses, edited by the {cell.log} user"):
                sampling = self.settings.sampling(1.0)
                responses = answer(self.student.base, contexts, cell.seed, sampling, Stream.LOG_RESPONSES)
                user = self.users(cell.log)
                write_jsonl(file, log_of(BASE, self.task, user, contexts, responses, cell.seed))
        return load_log(file)

    @cached_property
    def contexts(self) -> list[Document]:
        """What is to be answered online."""
        return online_documents(self.task, self.settings.rounds, self.cell.seed, self.log)

    @cached_property
    def lesson(self) -> Lesson:
        """The log as methods read it."""
        return Lesson(self.student, self.log, self.cost, self.settings.max_length, self.clock)

    def _play(self, method: str) -> None:
        """Play a method alone wherever it has not played yet."""
        for column in self.cell.columns:
            file = self.folder.rounds(column.name, method, self.cell.seed)
            if file.exists():
                continue
            if prompted(method):
                rounds = self._live(method, (method,), column)
            else:
                rounds = self._edited(method, self._responses(method), column)
            write_rounds(file, rounds)
            self.users.finished()

    def _play_late(self) -> None:
        """Play the late ensembles, some of whose arms learn from every edit."""
        for column in self.cell.columns:
            for method in self.settings.rows(column):
                file = self.folder.rounds(column.name, method, self.cell.seed)
                if method in LATE and not file.exists():
                    write_rounds(file, self._live(method, self.settings.ensemble, column))
                    self.users.finished()

    def _edited(self, method: str, responses: Sequence[str], column: Column) -> list[Round]:
        user = online_user(column, self.users, self.settings.rounds)
        with self.clock(f"edit.{method}", f"{self.cell.name}: {user.name} edits what {method} wrote"):
            return edited(method, method, self.task, user, self.contexts, responses, self.cell.seed, self.cost)

    def _live(self, method: str, arms: Sequence[str], column: Column) -> list[Round]:
        settings, seed = self.settings, self.cell.seed
        learners = {arm: self._learner(arm) for arm in arms if prompted(arm)}
        alone = {arm: read_rounds(self.folder.rounds(column.name, arm, seed)) for arm in arms if arm not in learners}
        rule = settings.rule(method)  # one arm alone is played whatever the rule
        user = online_user(column, self.users, settings.rounds)
        with self.clock(f"play.{method}", f"{self.cell.name}: {settings.rounds} rounds of {method}, one by one"):
            return play_live(
                LateEnsemble(list(arms), rule, seed), alone, learners, method, self.task, user, self.contexts, seed,
                self.cost, settings.sampling(),
            )  # fmt: skip

    def _responses(self, method: str) -> list[str]:
        """What a policy that does not learn online writes in every round, whoever reads it."""
        file = self.folder.answers(self.cell, method)
        if not file.exists():
            policy = self._policy(method)
            with self.clock(f"play.{method}", f"{self.cell.name}: {self.settings.rounds} rounds of {method}"):
                write_json(file, answer(policy, self.contexts, self.cell.seed, self.settings.sampling()))
        responses: list[str] = json.loads(file.read_text(encoding="utf-8"))
        return responses

    def _policy(self, method: str) -> Policy:
        if method == BASE:
            return self.student.base
        if method == ORACLE:
            kinds = {document.context: document.kind for document in self.contexts}

            def taste(context: Context) -> str:
                return self.task.taste(kinds[str(context)])

            return OracleTaste(method, self.student.base, taste)
        return self._trained(method)

    def _trained(self, method: str) -> Policy:
        """A trained policy: from its folder, or taught now."""
        target = self.folder.policy(self.cell, method)
        if target.exists():
            model, tokenizer, _ = load_model(str(target))
            return LocalPolicy(method, model, tokenizer)
        name = trained(method)
        assert name is not None
        training = self.settings.training(name, self.cell.seed)
        unseen: Sequence[Round] = []
        if name == "rl":
            unseen = self._edited(BASE, self._responses(BASE), read_column(f"{self.cell.task}/{self.cell.log}"))
        with staged_folder(target) as staged:
            return self.lesson.teach(method, training, staged, unseen)

    def _learner(self, method: str) -> Learner:
        """A prompt learner that has read the log."""
        known = prompted(method)
        assert known is not None
        kind, k = known
        writer = self.student.base
        encoder = encoder_for(writer, self.settings.encoder)
        learner: Learner
        learner = (
            IclEdit(method, writer, Memory(encoder), k) if kind == "icl" else Cipher(method, writer, Memory(encoder), k)
        )
        with self.clock(f"train.{method}", f"{self.cell.name}: {method} reads {len(self.log)} edits"):
            learner.learn(self.log)
        return learner

    def _keep_seconds(self) -> None:
        """Add what this run took to what the runs before it took."""
        file = self.folder.seconds(self.cell)
        before: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        now = self.clock.total()
        if len(now) > 1:  # something was done, besides looking whether anything was left to do
            write_json(file, {name: round(before.get(name, 0.0) + now.get(name, 0.0), 2) for name in {**before, **now}})


def play_cell(settings: BenchSettings, cell: Cell, path: Path) -> None:
    """Play what is left of a cell."""
    CellRun(settings, cell, BenchFolder(path)).play()
