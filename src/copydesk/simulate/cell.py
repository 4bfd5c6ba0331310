"""A cell: one log, of one user and seed, from which every method learns, and the columns that it is played in."""

from dataclasses import dataclass

from copydesk.report.columns import Scenario
from copydesk.simulate.column import parse_scenario_arg
from copydesk.simulate.config import ExperimentConfig


@dataclass(frozen=True)
class LogRun:
    """One log and the columns whose policies learn from it.

    Attributes:
        task: name of the task.
        log_user: the user who made the log.
        edits: its rows.
        seed: of all that is random.
        scenarios: where what was learnt is played.
    """

    task: str
    log_user: str
    edits: int
    seed: int
    scenarios: tuple[Scenario, ...]

    @property
    def name(self) -> str:
        """Its name in files."""
        return f"{self.task}-{self.log_user}-n{self.edits}-{self.seed}"


def list_log_runs(settings: ExperimentConfig) -> list[LogRun]:
    """The cells of a benchmark, those of the first seed first."""
    by_log: dict[tuple[str, str, int], list[Scenario]] = {}
    for column in map(parse_scenario_arg, settings.columns):
        by_log.setdefault((column.task, column.log_user, column.edits or settings.edits), []).append(column)
    return [LogRun(*log, seed, tuple(columns)) for seed in settings.seeds for log, columns in by_log.items()]
