r"""Importer of git histories: machine-written lines, and what people made of them.

A commit whose message marks it as machine-written adds lines; each run of them in a file is one text. The first commit
of a person that changes some of these lines is its edit; lines that nobody changed up to the end of the branch are
accepted. So a row has

- context: the path and the whole message of the machine's commit, as `path\n\nmessage`;
- response: the machine's lines, together with the neighbouring lines that the person's change also replaced, as they
  were just before that change;
- edit: the lines after it; the empty text where the lines, or the file, were deleted.

Lines are followed through other changes of the file and through renames. Where a later commit of the machine changes
its own lines, the text is the later one. Lines that move to another place count as deleted, and so do those of a file
that was renamed while a new one took its name. Binary files, links and submodules are skipped.

Only first parents are followed: a merge counts as one change, the machine's if its own message is marked. Name the
branch itself where machine and person worked on one that was merged.

https://git-scm.com/docs/git-log, https://git-scm.com/docs/git-interpret-trailers
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from copydesk.data.importers.base import FORMAT_PANEL, Importer, ImportSource, SourceRow
from copydesk.data.importers.git_log import (
    GIT_DIFF_ARGUMENTS,
    GIT_LOG_ARGUMENTS,
    Commit,
    FileChange,
    GitRepository,
    Hunk,
    read_commits,
    read_file_changes,
)
from copydesk.errors import InputError
from copydesk.utils.config import Config, Flag
from copydesk.utils.times import parse_since


@dataclass(frozen=True)
class MachineText:
    """Machine-written lines that nobody has changed yet: where they are now, and where they were written."""

    lines: list[bytes]
    start: int
    commit: Commit
    commit_number: int
    policy: str | None
    path: str
    first_line: int


@dataclass(frozen=True)
class TextOutcome:
    """One text and its edit; without an edit it is unchanged."""

    text: MachineText
    path: str
    edit: list[bytes] | None = None
    edit_path: str = ""
    edit_start: int = 0
    edit_commit: Commit | None = None


@dataclass
class ChangeGroup:
    """Texts and hunks that touch one another, in line order; `start` and `end` are lines of the old file."""

    start: int
    end: int
    texts: list[MachineText]
    hunks: list[Hunk]

    def splice(self) -> tuple[list[bytes], list[bytes]]:
        """All lines from `start` to `end` before and after the hunks."""
        before = [b""] * (self.end - self.start)
        for text in self.texts:
            before[text.start - self.start : text.start - self.start + len(text.lines)] = text.lines
        for hunk in self.hunks:
            before[hunk.start - self.start : hunk.end - self.start] = hunk.removed
        after: list[bytes] = []
        taken = 0
        for hunk in self.hunks:
            after += before[taken : hunk.start - self.start] + hunk.added
            taken = hunk.end - self.start
        return before, after + before[taken:]


def group_changes(texts: Iterable[MachineText], hunks: Iterable[Hunk]) -> Iterator[ChangeGroup]:
    """Texts and hunks of one file, grouped with those that they touch.

    A hunk touches a text when it replaces one of its lines or inserts lines between two of them; lines inserted just
    before or after a text do not touch it.
    """
    waiting, coming = deque(texts), deque(hunks)
    while waiting or coming:
        if coming and (not waiting or coming[0].start < waiting[0].start or coming[0].end <= waiting[0].start):
            hunk = coming.popleft()
            group = ChangeGroup(hunk.start, hunk.end, [], [hunk])
        else:
            text = waiting.popleft()
            group = ChangeGroup(text.start, text.start + len(text.lines), [text], [])
        while True:
            if coming and coming[0].start < group.end and group.start < coming[0].end:
                hunk = coming.popleft()
                group.hunks.append(hunk)
                group.start, group.end = min(group.start, hunk.start), max(group.end, hunk.end)
            elif waiting and waiting[0].start < group.end:
                text = waiting.popleft()
                group.texts.append(text)
                group.end = max(group.end, text.start + len(text.lines))
            else:
                break
        yield group


MACHINE_COMMIT_PATTERNS = (
    r"^(?:ai-)?(?:assisted|generated)-(?:by|with):",
    r"^co-(?:authored|developed)-by:(?!.*\b(?:dependabot|renovate|github-actions|pre-commit)\b)"
    r".*(?:\[bot\]|\bbot\b|\bAI\b|<noreply@|copilot|codex|cursor|devin|gemini|\bgpt)",
    r"\b(?:generated|written) (?:by|with) (?:an? )?(?:AI|LLM|bot|copilot|language model)\b",
)
"""Lines of a message that mark a commit as machine-written: the usual trailers and phrases, but not those of bots that
only update dependencies."""


def compile_commit_pattern(expression: str) -> re.Pattern[str]:
    """Compile the pattern of a mark.

    Raises:
        InputError: it is not a regular expression.
    """
    try:
        return re.compile(expression, re.IGNORECASE | re.MULTILINE)
    except re.error as exc:
        raise InputError(f"{expression!r} is not a regular expression ({exc}); fix it or leave it out") from None


def match_machine_commit(message: str, marks: Iterable[re.Pattern[str]]) -> re.Match[str] | None:
    """The place in a message that marks the commit as machine-written."""
    return next((found for mark in marks if (found := mark.search(message))), None)


def parse_trailer_policy(mark: re.Match[str]) -> str | None:
    """The name in a marking trailer, without the address after it; `None` where the mark is a phrase."""
    line = mark.string[mark.string.rfind("\n", 0, mark.start() + 1) + 1 :].split("\n", 1)[0]
    found = re.fullmatch(r"[\w-]+:\s*(.*?)\s*(?:<[^<>]*>)?\s*", line)
    return (found[1] or None) if found else None


class MachineTextHistory:
    """The machine's texts after the commits so far, by file."""

    def __init__(self) -> None:
        self._texts: dict[str, list[MachineText]] = {}
        self._commits = 0

    def apply_commit(
        self, commit: Commit, changes: Iterable[FileChange], mark: re.Match[str] | None
    ) -> Iterator[TextOutcome]:
        """Apply the next commit, the machine's if there is a mark; yields the texts that a person changed in it."""
        self._commits += 1
        # Two files may swap their names, so new names count only after all old ones.
        moved: dict[str, list[MachineText]] = {}
        for change in changes:
            texts = self._texts.pop(change.old_path, [])
            if change.binary:
                continue
            kept: list[MachineText] = []
            shift = 0
            for group in group_changes(texts, change.hunks):
                at = group.start + shift
                shift += sum(len(hunk.added) - len(hunk.removed) for hunk in group.hunks)
                if not group.hunks:
                    kept.append(replace(group.texts[0], start=at))
                    continue
                before, after = group.splice()
                if mark is not None:
                    if after:
                        policy = parse_trailer_policy(mark)
                        kept.append(
                            MachineText(after, at, commit, self._commits, policy, change.new_path, first_line=at)
                        )
                elif group.texts:
                    latest = max(group.texts, key=lambda text: text.commit_number)
                    text = replace(latest, lines=before, start=group.start)
                    yield TextOutcome(text, change.old_path, after, change.new_path, at, commit)
            if kept:
                moved[change.new_path] = kept
        self._texts |= moved

    def iter_accepted(self) -> Iterator[TextOutcome]:
        """The texts that nobody changed."""
        for path, texts in sorted(self._texts.items()):
            for text in texts:
                yield TextOutcome(text, path)


EditorNaming = Literal["name", "email", "none"]
"""The name of the person who edited: the author's name or e-mail address (after `.mailmap`), or none."""


def build_git_row(place: int, found: TextOutcome, folder: str, user: EditorNaming) -> SourceRow:
    """The row with this number, with the fields of an edit record, or an error where the text is not UTF-8."""
    text, by = found.text, found.edit_commit
    metadata: dict[str, Any] = {
        "repository": folder.removesuffix(".git"),
        "path": found.path,
        "commit": text.commit.name,
        "lines": [text.start, text.start + len(text.lines) - 1],
    }
    if by is not None:
        metadata["edit_commit"] = by.name
        if found.edit_path != found.path:
            metadata["edit_path"] = found.edit_path
        if found.edit:
            metadata["edit_lines"] = [found.edit_start, found.edit_start + len(found.edit) - 1]
    try:
        response = b"".join(text.lines).decode("utf-8")
        edit = response if found.edit is None else b"".join(found.edit).decode("utf-8")
    except UnicodeDecodeError:
        first, last = metadata["lines"]
        error = f"{found.path}, lines {first} to {last}, of commit {text.commit.name[:12]}: not UTF-8; save it as UTF-8"
        return SourceRow(place, error=error, raw=json.dumps(metadata, ensure_ascii=False))
    fields: dict[str, Any] = {
        "id": f"{text.commit.name}:{text.path}:{text.first_line}",
        "context": f"{text.path}\n\n{text.commit.message.rstrip()}",
        "response": response,
        "edit": edit,
        "created_at": text.commit.date,
        "metadata": metadata,
    }
    if text.policy is not None:
        fields["policy"] = text.policy
    if by is not None and (person := {"name": by.author, "email": by.email, "none": ""}[user]):
        fields["user"] = person
    return SourceRow(place, fields)


def build_git_source(
    repository: Path | str,
    *,
    mark: Sequence[str] = MACHINE_COMMIT_PATTERNS,
    since: datetime | None = None,
    branch: str = "HEAD",
    user: EditorNaming = "name",
) -> ImportSource:
    """Machine-written lines in a repository with the edits that people made.

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
            line; a match marks the commit.
        since: earlier commits of the machine are left out.
        branch: the branch, tag or commit whose history is read.
        user: how the person who edited is named.

    Raises:
        InputError: an expression is not valid; and once rows are read, git is missing, the folder is no repository, the
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
        # `X^@` is all parents of X, none for the first commit of the repository.
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
    """The first commit that is marked, and the number of commits from there on."""
    # The oldest commits of a shallow clone have no parents, so all of their files would seem to be new.
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
            f"{git.repository}: no commit of {branch} is marked as written by a machine{when}; name with --mark what"
            " such messages contain"
        )
    return beginning, commits


class GitOptions(Config):
    """Options of `--format git`."""

    mark: Annotated[
        tuple[str, ...],
        Flag(panel=FORMAT_PANEL, default_text="the usual trailers"),
        Field(
            description="Regular expression of a message line that marks a commit as machine-written; may be repeated."
        ),
    ] = MACHINE_COMMIT_PATTERNS
    branch: Annotated[
        str, Flag(panel=FORMAT_PANEL), Field(description="Branch, tag or commit whose history is read.")
    ] = "HEAD"
    since: Annotated[
        str | None,
        Flag(panel=FORMAT_PANEL, default_text="all"),
        Field(description="Only machine-written commits since this date or time, or 7d, 12h."),
    ] = None
    author: Annotated[
        EditorNaming, Flag(panel=FORMAT_PANEL), Field(description="How the person who edited is named.")
    ] = "name"


def _open(source: str, options: GitOptions) -> ImportSource:
    since = None if options.since is None else parse_since(options.since)
    return build_git_source(source, mark=options.mark, since=since, branch=options.branch, user=options.author)


GIT = Importer("git", "Machine-written lines of a git history and what people made of them.", _open, GitOptions)
