"""A column of a table: a task, whose log was learnt from, and who is met online."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from copydesk.errors import InputError
from copydesk.simulate.users import ChangingUser, User

_WORDS = re.compile(r"(?P<task>[^/]+)/(?P<log>[^/]+?)(-(?P<how>to|then)-(?P<met>[^/]+?))?(-n(?P<edits>\d+))?")


@dataclass(frozen=True)
class Column:
    """`TASK/USER`: policies learn from a user's log and meet users online.

    USER is `strong` (the user of the log is met online), `strong-to-weak` (another one is), or `strong-then-weak` (the
    user of the log is, and after half of the rounds the other one). With `-n500` at its end the log has 500 edits.

    Attributes:
        task: name of the task.
        log: the user who made the log.
        met: who is met online instead of them, or after them; `None` if nobody.
        changes: whether `met` comes only after half of the rounds.
        edits: rows of the log; `None` leaves that to the run.
    """

    task: str
    log: str
    met: str | None = None
    changes: bool = False
    edits: int | None = None

    @classmethod
    def of(cls, words: str) -> "Column":
        """Read a column's name.

        Raises:
            InputError: it is not TASK/USER.
        """
        found = _WORDS.fullmatch(words)
        if found is None:
            raise InputError(f"--columns {words}: write TASK/USER, such as email/strong or email/strong-to-weak")
        edits = found["edits"]
        return cls(
            found["task"], found["log"], found["met"], found["how"] == "then", None if edits is None else int(edits)
        )

    @property
    def user(self) -> str:
        """The part of its name behind the task."""
        met = "" if self.met is None else f"-{'then' if self.changes else 'to'}-{self.met}"
        return f"{self.log}{met}" + ("" if self.edits is None else f"-n{self.edits}")

    @property
    def name(self) -> str:
        """Its name in tables and files."""
        return f"{self.task}/{self.user}"

    @property
    def users(self) -> tuple[str, ...]:
        """Everyone who edits anything, whoever made the log first."""
        return (self.log,) if self.met is None else (self.log, self.met)

    def online(self, user: Callable[[str], User], rounds: int) -> User:
        """Who is met online, under the column's name.

        Args:
            user: opens a user by name.
            rounds: T.
        """
        met = user(self.log if self.met is None else self.met)
        return ChangingUser(self.user, user(self.log), met, rounds // 2) if self.changes else _called(self.user, met)


def _called(name: str, user: User) -> User:
    return user if user.name == name else ChangingUser(name, user, user, 0)


def shifted(tasks: list[str]) -> list[str]:
    """The columns in which somebody else is met online than the one whose log was learnt from."""
    meetings = ("strong-to-weak", "weak-to-strong", "strong-to-other", "strong-then-other")
    return [f"{task}/{meeting}" for task in tasks for meeting in meetings]
