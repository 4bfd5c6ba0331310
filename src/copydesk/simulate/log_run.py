"""A log of an experiment and the columns whose policies learn from it."""

from collections.abc import Callable
from dataclasses import dataclass

from copydesk.report.columns import Scenario
from copydesk.simulate.config import ExperimentConfig, parse_scenario_arg
from copydesk.simulate.users import ChangingUser, User


@dataclass(frozen=True)
class LogRun:
    """One log and the columns whose policies learn from it.

    Attributes:
        task: name of the task.
        log_user: the user who made the log.
        edits: its rows.
        seed: of all random numbers.
        scenarios: the columns in which the policies are played.
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
    """The logs of a benchmark, those of the first seed first."""
    by_log: dict[tuple[str, str, int], list[Scenario]] = {}
    for column in map(parse_scenario_arg, settings.columns):
        by_log.setdefault((column.task, column.log_user, settings.count_edits(column)), []).append(column)
    return [LogRun(*log, seed, tuple(columns)) for seed in settings.seeds for log, columns in by_log.items()]


def make_online_user(scenario: Scenario, user: Callable[[str], User], rounds: int) -> User:
    """The user of the online rounds, named as the column names it after its task.

    Args:
        scenario: the column.
        user: opens a user by name.
        rounds: T; a user who changes does so after half of them.
    """
    name = scenario.name.partition("/")[2]
    met = user(scenario.online_user)
    if scenario.changes_midway:
        return ChangingUser(name, user(scenario.log_user), met, rounds // 2)
    return met if met.name == name else ChangingUser(name, met, met, 0)
