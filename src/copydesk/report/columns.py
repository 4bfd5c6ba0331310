"""Columns of the tables: a task, the user whose edits the policies learned from, and the user met online."""

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scenario:
    """What a column's name, `task/user`, stands for.

    | user | meaning |
    |---|---|
    | `strong` | one user makes the log and is met online; any name can be used |
    | `strong-to-weak` | strong makes the log, weak is met online |
    | `strong-then-other` | strong makes the log and is met in the first half of the rounds, other in the second |
    | `p0.35` | a user of strength 0.35 |
    | `strong-n500` | the log has 500 edits |

    Attributes:
        name: the name in results.json.
        task: the task.
        log_user: the user who made the log.
        online_user: the user met online, in the second half of the rounds if the user changes.
        changes_midway: whether `log_user` is met in the first half of the rounds.
        strength: p of the user, in a sweep over it.
        edits: n of the log, in a sweep over it.
    """

    name: str
    task: str
    log_user: str
    online_user: str
    changes_midway: bool = False
    strength: float | None = None
    edits: int | None = None

    @property
    def swept_parameter(self) -> Literal["n", "p"] | None:
        """What is varied, if the column is a point of a sweep."""
        if self.edits is not None:
            return "n"
        return None if self.strength is None else "p"

    @property
    def is_shifted(self) -> bool:
        """Whether a user is met online whose edits are not in the log, outside of sweeps."""
        return self.swept_parameter is None and self.online_user != self.log_user

    @property
    def is_plain(self) -> bool:
        """Whether it is one task with one user, outside of sweeps."""
        return self.swept_parameter is None and not self.is_shifted

    @property
    def title(self) -> str:
        """The column's title, e.g. `Email, strong user`."""
        title = f"{self.task_title}, {self.user_title}"
        return title if self.edits is None else f"{title}, {self.edits:,} edits"

    @property
    def task_title(self) -> str:
        """The task in a title."""
        return self.task[:1].upper() + self.task[1:].replace("-", " ")

    @property
    def user_title(self) -> str:
        """The user of the log and the one met online, in a title."""
        if self.strength is not None:
            return f"user of strength {self.strength:g}"
        if self.online_user == self.log_user:
            return f"{self.log_user} user"
        if self.changes_midway:
            return f"{self.log_user} user, who turns into {self.online_user} halfway"
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
        return Scenario(name, task, match[1], match[3], changes_midway=match[2] == "then", edits=edits)
    return Scenario(name, task, user, user, edits=edits)


def format_scenario_title(name: str) -> str:
    """The title of a column: `email/strong` is `Email, strong user`."""
    return parse_scenario(name).title
