"""The texts of a machine, and what becomes of them."""

from dataclasses import dataclass

from copydesk.data.importers.commits import Commit


@dataclass(frozen=True)
class MachineText:
    """Lines that a machine wrote and nobody has changed: which, where they are now, and where they were written."""

    lines: list[bytes]
    start: int
    commit: Commit
    commit_number: int
    policy: str | None
    path: str
    first_line: int


@dataclass(frozen=True)
class TextOutcome:
    """One text, and what became of it; without an edit it is still as it was."""

    text: MachineText
    path: str
    edit: list[bytes] | None = None
    edit_path: str = ""
    edit_start: int = 0
    edit_commit: Commit | None = None
