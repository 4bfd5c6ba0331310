"""What commits change, file by file, as `git log` writes it with the arguments `GIT_DIFF_ARGUMENTS`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from copydesk.data.importers.commits import COMMIT_MARKER
from copydesk.data.importers.stream import CommandOutput

GIT_DIFF_ARGUMENTS = (
    *("--raw", "--patch", "--unified=0", "--diff-merges=first-parent", "--find-renames", "-l1000", "--no-relative"),
    *("--diff-algorithm=histogram", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short", "-O/dev/null"),
)
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")


@dataclass(frozen=True)
class Hunk:
    """Lines that are replaced: those from `start` on in the old file, by others. Either may be none."""

    start: int
    removed: list[bytes]
    added: list[bytes]

    @property
    def end(self) -> int:
        """The first line after them in the old file."""
        return self.start + len(self.removed)


@dataclass(frozen=True)
class FileChange:
    """What one commit does to one file; of a binary file there are no hunks."""

    old_path: str
    new_path: str
    binary: bool
    hunks: list[Hunk]


def read_file_changes(stream: CommandOutput) -> Iterator[FileChange]:
    r"""The changes of the commit whose header was just taken.

    First all files with their names in full, `:modes blobs status\0old\0` and for a rename `new\0`; then, after one
    more `\0`, their hunks in the same order.
    """
    if not stream.starts_with(b"\n:"):
        return
    stream.read_until(b"\n")
    files = []
    while stream.starts_with(b":"):
        old_mode, new_mode, *_, status = stream.read_until(b"\0")[1:].decode().split(" ")
        old = new = stream.read_until(b"\0").decode("utf-8", "backslashreplace")
        if status[0] in "RC":
            new = stream.read_until(b"\0").decode("utf-8", "backslashreplace")
        files.append((old, new, old_mode, new_mode))
    stream.read_until(b"\0")
    for old, new, old_mode, new_mode in files:
        was, is_now = old_mode.startswith("100"), new_mode.startswith("100")
        binary, hunks = _read_hunks(stream)
        # What turns into a link or a submodule, or back, is a deletion and a creation.
        if old_mode[:3] != new_mode[:3] and "000" not in (old_mode[:3], new_mode[:3]):
            other_binary, other = _read_hunks(stream)
            binary, hunks = (binary, hunks) if was else (other_binary, other)
        if was or is_now:
            yield FileChange(old, new, binary, hunks)


def _read_hunks(stream: CommandOutput) -> tuple[bool, list[Hunk]]:
    """Whether a file is binary, and its hunks."""
    binary, hunks = False, []
    stream.read_until(b"\n")  # diff --git
    while not (stream.is_at_end() or stream.starts_with(b"diff --git ") or stream.starts_with(COMMIT_MARKER)):
        line = stream.read_until(b"\n")
        if line.startswith(b"Binary files "):
            binary = True
        elif found := _HUNK.match(line):
            at, removed, added = int(found[1]), int(found[2] or 1), int(found[3] or 1)
            # Lines that are put in come after the one that is named.
            hunks.append(
                Hunk(at if removed else at + 1, _read_hunk_lines(stream, removed), _read_hunk_lines(stream, added))
            )
    return binary, hunks


def _read_hunk_lines(stream: CommandOutput, number: int) -> list[bytes]:
    """So many lines of one side of a hunk, with their ends; only the last of a file may have none."""
    lines = [stream.read_until(b"\n")[1:] + b"\n" for _ in range(number)]
    if lines and stream.starts_with(b"\\"):
        stream.read_until(b"\n")
        lines[-1] = lines[-1][:-1]
    return lines
