"""Columns of the tables: a task, the user whose edits the policies learned from, and the user met online."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

TableNumber = Literal[1, 2]
"""A table of the paper: in table 1 everybody is met by the strong user, in table 2 by the transfer user."""

SweepSymbol = Literal["n", "p", "attention"]
"""What a sweep varies: edits in the log, strength of the user, or how likely a preference is attended to."""

TABLE_USERS: Mapping[str, TableNumber] = {"strong": 1, "transfer": 2}
"""The user met online in the columns of each table."""
TABLE_LOG_USERS = ("strong", "weak")
"""The users whose logs the columns of a table have."""


@dataclass(frozen=True)
class Scenario:
    """What a column's name, `task/user`, stands for.

    | user | meaning |
    |---|---|
    | `strong` | one user makes the log and is met online; any name can be used |
    | `weak-to-strong` | weak makes the log, strong is met online |
    | `strong-then-other` | strong makes the log and is met in the first half of the rounds, other in the second |
    | `weak-0.35-to-strong` | the log's user attends to each preference with probability 0.35 |
    | `p0.35` | a user of strength 0.35 |
    | `weak-to-strong-n500` | the log has 500 edits |

    Attributes:
        name: the name in results.json.
        task: the task.
        log_user: the user who made the log.
        online_user: the user met online, in the second half of the rounds if the user changes.
        changes_midway: whether `log_user` is met in the first half of the rounds.
        strength: p of the user, in a sweep over it.
        edits: n of the log, in a sweep over it.
        attention: the probability that the log's user attends to a preference, in a sweep over it.
    """

    name: str
    task: str
    log_user: str
    online_user: str
    changes_midway: bool = False
    strength: float | None = None
    edits: int | None = None
    attention: float | None = None

    @property
    def swept_parameter(self) -> SweepSymbol | None:
        """What is varied, if the column is a point of a sweep."""
        if self.edits is not None:
            return "n"
        if self.attention is not None:
            return "attention"
        return None if self.strength is None else "p"

    @property
    def swept_value(self) -> float:
        """The value of what is varied; 0 outside of sweeps."""
        values = (self.edits, self.attention, self.strength)
        return float(next((value for value in values if value is not None), 0.0))

    @property
    def is_shifted(self) -> bool:
        """Whether a user is met online whose edits are not in the log, outside of sweeps."""
        return self.swept_parameter is None and self.online_user != self.log_user

    @property
    def is_plain(self) -> bool:
        """Whether it is one task with one user, outside of sweeps."""
        return self.swept_parameter is None and not self.is_shifted

    @property
    def table(self) -> TableNumber | None:
        """The paper's table that has such a column, by the names of its users; `group_scenarios` decides for a run."""
        if self.swept_parameter is not None or not self.has_table_users:
            return None
        return TABLE_USERS[self.online_user]

    @property
    def has_table_users(self) -> bool:
        """Whether its users are those of a table, in a sweep or not."""
        return self.log_user in TABLE_LOG_USERS and self.online_user in TABLE_USERS and not self.changes_midway

    @property
    def title(self) -> str:
        """The column's title, e.g. `Email, strong user`."""
        title = f"{self.task_title}, {self.user_title}"
        return title if self.edits is None else f"{title}, {self.edits:,} edits"

    @property
    def table_title(self) -> str:
        """The title in a table whose caption names the user met online, e.g. `Email, weak user's log`."""
        return f"{self.task_title}, {self.log_title}"

    @property
    def task_title(self) -> str:
        """The task in a title."""
        return self.task[:1].upper() + self.task[1:].replace("-", " ")

    @property
    def log_title(self) -> str:
        """The log in a title, e.g. `weak user's log`."""
        return f"{self.log_user} user's log"

    @property
    def user_title(self) -> str:
        """The user of the log and the one met online, in a title."""
        if self.strength is not None:
            return f"user of strength {self.strength:g}"
        if self.online_user == self.log_user:
            return f"{self.log_user} user"
        if self.changes_midway:
            return f"{self.log_user} user, who turns into {self.online_user} halfway"
        if self.has_table_users or self.attention is not None:
            return f"{self.log_title}, met by the {self.online_user} user"
        return f"log of {self.log_user}, meets {self.online_user}"


def parse_scenario(name: str) -> Scenario:
    """Parse a column's name. Every name is valid: what matches none of the patterns is a user."""
    task, _, user = name.partition("/")
    edits = None
    if match := re.fullmatch(r"(.+)-n([1-9][0-9]{0,8})", user):
        user, edits = match[1], int(match[2])
    if match := re.fullmatch(r"p([0-9]{1,4}(?:\.[0-9]{1,9})?)", user):
        return Scenario(name, task, user, user, strength=float(match[1]), edits=edits)
    if match := re.fullmatch(r"(.+?)-(to|then)-(.+)", user):
        changes = match[2] == "then"
        attention = None if changes else _parse_attention(match[1])
        return Scenario(name, task, match[1], match[3], changes_midway=changes, edits=edits, attention=attention)
    return Scenario(name, task, user, user, edits=edits, attention=_parse_attention(user))


def _parse_attention(user: str) -> float | None:
    """The probability in the name of a weak user, such as `weak-0.35`; `weak-3` attends to three preferences."""
    match = re.fullmatch(r"weak-(0\.[0-9]{1,9}|1\.0{1,9})", user)
    return None if match is None else float(match[1])


def format_scenario_title(name: str) -> str:
    """The title of a column: `email/strong` is `Email, strong user`."""
    return parse_scenario(name).title


@dataclass(frozen=True)
class ScenarioGroups:
    """The columns of a run by what they are compared in, each group in the order of the run.

    Attributes:
        tables: the columns of the paper's tables that were played.
        plain: other columns of one task with one user.
        shifted: other columns with a user whose edits are not in the log.
        swept: the points of sweeps.
    """

    tables: Mapping[TableNumber, Sequence[Scenario]]
    plain: Sequence[Scenario]
    shifted: Sequence[Scenario]
    swept: Sequence[Scenario]

    @property
    def main(self) -> Sequence[Scenario]:
        """The columns of the run's main table: table 1, or table 2 if it is alone, or the plain columns."""
        return next(iter(self.tables.values()), self.plain)


def group_scenarios(names: Iterable[str]) -> ScenarioGroups:
    """Group the columns of a run.

    The run has the paper's tables if the log's user and the one met online differ in one of their columns. A plain
    column of the user `weak` marks a run of release 0.1, in which that was a user who erred: it has no such table.
    """
    scenarios = [parse_scenario(name) for name in names]
    found = [scenario for scenario in scenarios if scenario.table]
    is_old = any(scenario.is_plain and scenario.log_user == "weak" for scenario in scenarios)
    if is_old or not any(scenario.is_shifted for scenario in found):
        found = []
    numbers = sorted({scenario.table for scenario in found if scenario.table})
    others = [scenario for scenario in scenarios if scenario not in found]
    return ScenarioGroups(
        tables={number: [scenario for scenario in found if scenario.table == number] for number in numbers},
        plain=[scenario for scenario in others if scenario.is_plain],
        shifted=[scenario for scenario in others if scenario.is_shifted],
        swept=[scenario for scenario in others if scenario.swept_parameter],
    )


def filter_main_scenarios(names: Iterable[str]) -> list[str]:
    """Keep the columns of the run's main table (`ScenarioGroups.main`); all columns if there is none."""
    listed = list(names)
    return [scenario.name for scenario in group_scenarios(listed).main] or listed


def filter_unswept_scenarios(names: Iterable[str]) -> list[str]:
    """Keep the columns that are not points of a sweep."""
    return [name for name in names if not parse_scenario(name).swept_parameter]
