r"""The history of a git repository: what a machine wrote, and what people made of those lines.

A commit whose message marks it as written by a machine adds lines; each run of them in a file is one text. The first
commit of a person that changes some of these lines is its edit; lines that nobody has changed up to the branch's end
are accepted. So a row has

- context: the path and the whole message of the machine's commit, as `path\n\nmessage`;
- response: the machine's lines, widened to the lines beside them that the person's change replaced as well, as they
  were just before that change;
- edit: what stands there after it; the empty text where the lines, or the file, were deleted.

Lines are followed through everything that changes elsewhere in the file, and through renames. Where a later commit of
the machine changes its own lines, the text is the later one. Lines that move to another place count as deleted, and so
do those of a file that was renamed while a new one took its name. Binary files, links and submodules are passed over.

Only first parents are followed: a merge counts as one change, the machine's if its own message is marked. Name the
branch itself where machine and person worked on one that was merged.

https://git-scm.com/docs/git-log, https://git-scm.com/docs/git-interpret-trailers
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.importers.command import GitRepository
from copydesk.data.importers.commits import GIT_LOG_ARGUMENTS, read_commits
from copydesk.data.importers.git_log import GIT_DIFF_ARGUMENTS, read_file_changes
from copydesk.data.importers.history import MachineTextHistory
from copydesk.data.importers.marks import MACHINE_COMMIT_PATTERNS, compile_commit_pattern, match_machine_commit
from copydesk.data.importers.rows import EditorNaming, build_git_row
from copydesk.errors import InputError


def build_git_source(
    repository: Path | str,
    *,
    mark: Sequence[str] = MACHINE_COMMIT_PATTERNS,
    since: datetime | None = None,
    branch: str = "HEAD",
    user: EditorNaming = "name",
) -> ImportSource:
    """The machine's lines in a repository, with what people made of them.

    Edits come in the order of the history, then the lines that were accepted. An accepted row has no user, since nobody
    knows who read it. The policy is what the marking trailer names. The metadata hold the repository's name, the path,
    the machine's commit and the edit's, and first and last line of response and edit: those of the response (`path`,
    `lines`) as they are just before the edit, those of the edit (`edit_path` where it is another, `edit_lines` where
    there are any) just after it. An id names the machine's commit, the path and the first line there, so that it stays
    the same when the history grows. Memory grows with the machine's lines that are still as they were, not with the
    history.

    Args:
        repository: a folder in it, or a bare repository.
        mark: regular expressions, searched for in the whole message without regard to case, `^` at the start of any
            line; one that is found marks the commit.
        since: what the machine committed before is left out.
        branch: the branch, tag or commit whose history is read.
        user: how the person who edited is named.

    Raises:
        InputError: an expression is not one; and once rows are read, git is missing, the folder is no repository, the
            branch is not there, or no commit is marked.
    """
    marks = [compile_commit_pattern(expression) for expression in mark]
    folder = Path(repository).resolve()
    seen = _Progress()

    def rows() -> Iterator[SourceRow]:
        seen.commits = 0
        git = GitRepository(str(repository))
        tip = git.resolve_commit(branch)
        beginning, seen.total = _find_first_machine_commit(git, tip, marks, since, branch)
        place = 0
        history = MachineTextHistory()
        # `X^@` stands for all parents of X: none where it is the first commit of all.
        with git.stream(*GIT_LOG_ARGUMENTS, *GIT_DIFF_ARGUMENTS, tip, "--not", f"{beginning}^@", "--") as stream:
            for commit in read_commits(stream):
                for found in history.apply_commit(
                    commit, read_file_changes(stream), match_machine_commit(commit.message, marks)
                ):
                    place += 1
                    yield build_git_row(place, found, folder.name, user)
                seen.commits += 1
        for found in history.iter_accepted():
            place += 1
            yield build_git_row(place, found, folder.name, user)

    return ImportSource(
        name=str(repository),
        rows=rows,
        unit="row",
        rejected_path=folder.with_name(f"{folder.name}.rejected.jsonl"),
        has_record_fields=True,
        progress=lambda: seen.commits / seen.total if seen.total else None,
    )


@dataclass
class _Progress:
    commits: int = 0
    total: int = 0


def _find_first_machine_commit(
    git: GitRepository, tip: str, marks: list[re.Pattern[str]], since: datetime | None, branch: str
) -> tuple[str, int]:
    """The first commit that is marked, and how many there are from there on."""
    # The oldest commits of a shallow clone come without their parents, so that all of their files seem to be new.
    shallow = git.run("rev-parse", "--is-shallow-repository") == "true"
    after = None if since is None else since if since.tzinfo is not None else since.replace(tzinfo=UTC)
    beginning, commits = None, 0
    with git.stream(*GIT_LOG_ARGUMENTS, tip, "--") as stream:
        for commit in read_commits(stream):
            if beginning is None and (commit.parents or not shallow) and match_machine_commit(commit.message, marks):
                late = after is None or datetime.fromisoformat(commit.date) >= after
                beginning = commit.name if late else None
            commits += beginning is not None
    if beginning is None:
        when = "" if after is None else f" since {after:%Y-%m-%d}"
        raise InputError(
            f"{git.repository}: no commit of {branch} is marked as written by a machine{when}; say with --mark what"
            " such messages contain"
        )
    return beginning, commits
