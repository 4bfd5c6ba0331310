"""What a column of the tables is: a task, whose edits were learned from, and who was met online."""

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scenario:
    """A column's name, `task/user`, read.

    | user | is |
    |---|---|
    | `strong` | the user who made the log is the one met online; any name may stand there |
    | `strong-to-weak` | strong made the log, weak is met |
    | `strong-then-other` | strong made the log and is met in the first half of the rounds, other afterwards |
    | `p0.35` | a user of strength 0.35 |
    | `strong-n500` | the log has 500 edits |

    Attributes:
        name: as it stands in results.json.
        task: the task.
        log_user: who made the log.
        online_user: who is met online, in the end.
        changes_midway: whether the user met online is `log_user` before it is `make_online_user`.
        strength: p of the user, where users are told apart by that.
        edits: n of the log, where logs are told apart by that.
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
        """What is varied, where the column is a point of a sweep."""
        if self.edits is not None:
            return "n"
        return None if self.strength is None else "p"

    @property
    def is_shifted(self) -> bool:
        """Whether somebody is met online whose edits are not in the log, and no more than that is varied."""
        return self.swept_parameter is None and self.online_user != self.log_user

    @property
    def is_plain(self) -> bool:
        """Whether it is a task and a user and nothing else."""
        return self.swept_parameter is None and not self.is_shifted

    @property
    def title(self) -> str:
        """The column for people, e.g. `Email, strong user`."""
        about = f"{self.task_title}, {self.user_title}"
        return about if self.edits is None else f"{about}, {self.edits:,} edits"

    @property
    def task_title(self) -> str:
        """The task for people."""
        return self.task[:1].upper() + self.task[1:].replace("-", " ")

    @property
    def user_title(self) -> str:
        """Whose log it is and who is met, for people."""
        if self.strength is not None:
            return f"user of strength {self.strength:g}"
        if self.online_user == self.log_user:
            return f"{self.log_user} user"
        if self.changes_midway:
            return f"{self.log_user} user, who turns into {self.online_user} halfway"
        return f"log of {self.log_user}, meets {self.online_user}"


def parse_scenario(name: str) -> Scenario:
    """Read a column's name. Every name can be read: what follows none of the patterns is a user."""
    task, _, user = name.partition("/")
    edits = None
    if found := re.fullmatch(r"(.+)-n([1-9][0-9]{0,8})", user):
        user, edits = found[1], int(found[2])
    if found := re.fullmatch(r"p([0-9]{1,4}(?:\.[0-9]{1,9})?)", user):
        return Scenario(name, task, user, user, strength=float(found[1]), edits=edits)
    if found := re.fullmatch(r"(.+?)-(to|then)-(.+)", user):
        return Scenario(name, task, found[1], found[3], changes_midway=found[2] == "then", edits=edits)
    return Scenario(name, task, user, user, edits=edits)


def format_scenario_title(name: str) -> str:
    """A column for people: `email/strong` is `Email, strong user`."""
    return parse_scenario(name).title
