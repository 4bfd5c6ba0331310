"""Runs `git log` on a repository and parses commits and file changes while git runs.

Settings of the user and of the environment do not change the output.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from copydesk.errors import InputError


class CommandOutput:
    """The output of a running command, read in pieces."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._buffer = b""
        self._position = 0

    def read_until(self, mark: bytes) -> bytes:
        """Everything up to the next mark, which is consumed but not returned."""
        searched = self._position
        while (end := self._buffer.find(mark, searched)) < 0:
            searched = len(self._buffer) - self._position
            if not self._fill_buffer():
                raise EOFError
        taken, self._position = self._buffer[self._position : end], end + len(mark)
        return taken

    def starts_with(self, text: bytes) -> bool:
        """Whether the next bytes are these."""
        while len(self._buffer) - self._position < len(text) and self._fill_buffer():
            pass
        return self._buffer.startswith(text, self._position)

    def is_at_end(self) -> bool:
        """Whether everything was read."""
        return self._position == len(self._buffer) and not self._fill_buffer()

    def read_rest(self) -> bytes:
        """The rest of the output."""
        while self._fill_buffer():
            pass
        return self._buffer[self._position :]

    def _fill_buffer(self) -> bool:
        read = self._pipe.read(1 << 20)
        self._buffer, self._position = self._buffer[self._position :] + read, 0
        return bool(read)


COMMIT_MARKER = b"\2"
"""The first byte of a commit; no line of a diff begins with it."""

_COMMIT_FORMAT = "%x02%H%x00%P%x00%aN%x00%aE%x00%aI%x00%B"
GIT_LOG_ARGUMENTS = (
    "log",
    "--first-parent",
    "--reverse",
    "-z",
    "--encoding=UTF-8",
    f"--format={_COMMIT_FORMAT}",
    "--no-notes",
)


@dataclass(frozen=True)
class Commit:
    """The header of a commit; the author as `.mailmap` has it, the date in ISO 8601."""

    name: str
    parents: str
    author: str
    email: str
    date: str
    message: str


def read_commits(stream: CommandOutput) -> Iterator[Commit]:
    """Each commit's header. Its file changes must be read from the stream before the next one."""
    while not stream.is_at_end():
        if stream.read_until(COMMIT_MARKER):
            raise EOFError
        yield Commit(*(stream.read_until(b"\0").decode("utf-8", "replace") for _ in range(6)))


GIT_DIFF_ARGUMENTS = (
    *("--raw", "--patch", "--unified=0", "--diff-merges=first-parent", "--find-renames", "-l1000", "--no-relative"),
    *("--diff-algorithm=histogram", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short", "-O/dev/null"),
)
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")


@dataclass(frozen=True)
class Hunk:
    """Lines of the old file from `start` on that are replaced by others; either may be empty."""

    start: int
    removed: list[bytes]
    added: list[bytes]

    @property
    def end(self) -> int:
        """The first line after the removed ones in the old file."""
        return self.start + len(self.removed)


@dataclass(frozen=True)
class FileChange:
    """The change of one file in one commit; a binary file has no hunks."""

    old_path: str
    new_path: str
    binary: bool
    hunks: list[Hunk]


def read_file_changes(stream: CommandOutput) -> Iterator[FileChange]:
    r"""The changes of the commit whose header was just read.

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
        # A file that becomes a link or a submodule, or the reverse, is a deletion and a creation.
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
            # Inserted lines come after the line that is named.
            hunks.append(
                Hunk(at if removed else at + 1, _read_hunk_lines(stream, removed), _read_hunk_lines(stream, added))
            )
    return binary, hunks


def _read_hunk_lines(stream: CommandOutput, number: int) -> list[bytes]:
    """This number of lines of one side of a hunk, with their ends; only the last of a file may have none."""
    lines = [stream.read_until(b"\n")[1:] + b"\n" for _ in range(number)]
    if lines and stream.starts_with(b"\\"):
        stream.read_until(b"\n")
        lines[-1] = lines[-1][:-1]
    return lines


# The output must not depend on the user's settings.
_GIT_CONFIG = ("core.quotepath=off", "log.showRoot=true", "log.showSignature=false", "diff.interHunkContext=0")
_DROPPED_ENVIRONMENT = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_DIFF_OPTS",
    "GIT_EXTERNAL_DIFF",
    "GIT_NAMESPACE",
}


class GitRepository:
    """The git command on one repository."""

    def __init__(self, repository: str) -> None:
        self.repository = repository
        settings = [part for setting in _GIT_CONFIG for part in ("-c", setting)]
        self._command = ["git", "--no-pager", "--no-replace-objects", "-C", repository, *settings]
        self._environment = {key: value for key, value in os.environ.items() if key not in _DROPPED_ENVIRONMENT}
        self._environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}

    def resolve_commit(self, name: str) -> str:
        """The full name of the commit of a branch, a tag or another name."""
        self.run("rev-parse", "--git-dir")
        try:
            return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except InputError:
            raise InputError(
                f"{self.repository}: there is no commit {name!a}; name a branch that has commits"
            ) from None

    def run(self, *arguments: str) -> str:
        """The output of a short command."""
        with self.stream(*arguments) as stream:
            return stream.read_rest().decode("utf-8", "replace").strip()

    @contextmanager
    def stream(self, *arguments: str) -> Iterator[CommandOutput]:
        """The output of a command, read while it runs; the command ends with the block.

        Raises:
            InputError: git is missing, or the command fails.
        """
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    [*self._command, *arguments],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
            except FileNotFoundError:
                raise InputError(f"{self.repository}: reading a history needs git; install it") from None
            except (OSError, ValueError) as exc:
                raise InputError(f"{self.repository}: git cannot be run ({exc}); check the path") from None
            assert process.stdout is not None
            with process.stdout:
                try:
                    yield CommandOutput(process.stdout)
                    failed = process.wait() != 0
                except EOFError:
                    failed = True
                finally:
                    process.kill()
                    process.wait()
            if failed:
                errors.seek(0)
                reason = errors.read(2000).decode("utf-8", "replace").strip().splitlines()
                why = reason[0].removeprefix("fatal: ") if reason else "its output ends early"
                raise InputError(f"{self.repository}: git cannot read it ({why}); name the folder of a repository")
