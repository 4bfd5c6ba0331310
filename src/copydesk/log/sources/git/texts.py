"""The texts of a machine, and what becomes of them."""

from dataclasses import dataclass

from copydesk.log.sources.git.commits import Commit


@dataclass(frozen=True)
class Text:
    """Lines that a machine wrote and nobody has changed: which, where they are now, and where they were written."""

    lines: list[bytes]
    at: int
    commit: Commit
    number: int
    policy: str | None
    path: str
    line: int


@dataclass(frozen=True)
class Found:
    """One text, and what became of it; without an edit it is still as it was."""

    text: Text
    path: str
    edit: list[bytes] | None = None
    edit_path: str = ""
    edit_at: int = 0
    by: Commit | None = None
