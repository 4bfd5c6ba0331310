"""The commits of a history, as `git log` writes them with the arguments `GIT_LOG_ARGUMENTS`."""

from collections.abc import Iterator
from dataclasses import dataclass

from copydesk.data.importers.stream import CommandOutput

COMMIT_MARKER = b"\2"
"""The first byte tells a commit from the lines of a diff, of which none begins with it."""

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
    """Each commit's header. What follows it must be taken from the stream before the next."""
    while not stream.is_at_end():
        if stream.read_until(COMMIT_MARKER):
            raise EOFError
        yield Commit(*(stream.read_until(b"\0").decode("utf-8", "replace") for _ in range(6)))
