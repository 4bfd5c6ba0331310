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

import json
import os
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

from copydesk.errors import InputError
from copydesk.log.sources.source import Row, Source

MARKS = (
    r"^(?:ai-)?(?:assisted|generated)-(?:by|with):",
    r"^co-(?:authored|developed)-by:(?!.*\b(?:dependabot|renovate|github-actions|pre-commit)\b)"
    r".*(?:\[bot\]|\bbot\b|\bAI\b|<noreply@|copilot|codex|cursor|devin|gemini|\bgpt)",
    r"\b(?:generated|written) (?:by|with) (?:an? )?(?:AI|LLM|bot|copilot|language model)\b",
)
"""Lines of a message that mark a commit as written by a machine: the usual trailers and phrases. Bots that only raise
the versions of dependencies are not meant."""

User = Literal["name", "email", "none"]
"""How the person who edited is named: by the author's name or e-mail address (after `.mailmap`), or not at all."""

# The first byte tells a commit from the lines of a diff, of which none begins with it.
_COMMIT = b"\2"
_FIELDS = "%x02%H%x00%P%x00%aN%x00%aE%x00%aI%x00%B"
# Whatever the user's own settings are, the output is to be the same.
_SETTINGS = ("core.quotepath=off", "log.showRoot=true", "log.showSignature=false", "diff.interHunkContext=0")
_LOG = ("log", "--first-parent", "--reverse", "-z", "--encoding=UTF-8", f"--format={_FIELDS}", "--no-notes")
_DIFF = (
    *("--raw", "--patch", "--unified=0", "--diff-merges=first-parent", "--find-renames", "-l1000", "--no-relative"),
    *("--diff-algorithm=histogram", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short", "-O/dev/null"),
)
_OF_THE_CALLER = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_DIFF_OPTS", "GIT_EXTERNAL_DIFF", "GIT_NAMESPACE"}


def git_source(
    repository: Path | str,
    *,
    mark: Sequence[str] = MARKS,
    since: datetime | None = None,
    branch: str = "HEAD",
    user: User = "name",
) -> Source:
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
    marks = [_pattern(expression) for expression in mark]
    folder = Path(repository).resolve()
    seen = _Seen()

    def rows() -> Iterator[Row]:
        seen.commits = 0
        git = _Git(str(repository))
        tip = git.commit(branch)
        beginning, seen.total = _beginning(git, tip, marks, since, branch)
        place = 0
        history = _History()
        # `X^@` stands for all parents of X: none where it is the first commit of all.
        with git.output(*_LOG, *_DIFF, tip, "--not", f"{beginning}^@", "--") as stream:
            for commit in _commits(stream):
                for found in history.take(commit, _changes(stream), _marked(commit, marks)):
                    place += 1
                    yield _row(place, found, folder.name, user)
                seen.commits += 1
        for found in history.accepted():
            place += 1
            yield _row(place, found, folder.name, user)

    return Source(
        name=str(repository),
        rows=rows,
        unit="row",
        rejected=folder.with_name(f"{folder.name}.rejected.jsonl"),
        mapped=True,
        progress=lambda: seen.commits / seen.total if seen.total else None,
    )


@dataclass
class _Seen:
    commits: int = 0
    total: int = 0


def _pattern(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression, re.IGNORECASE | re.MULTILINE)
    except re.error as fault:
        raise InputError(f"{expression!r} is not a regular expression ({fault}); mend it or leave it out") from None


# -- what git says -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Commit:
    name: str
    parents: str
    author: str
    email: str
    date: str
    message: str


@dataclass(frozen=True)
class _Hunk:
    """Lines that are replaced: those from `at` on in the old file, by others. Either may be none."""

    at: int
    removed: list[bytes]
    added: list[bytes]

    @property
    def end(self) -> int:
        return self.at + len(self.removed)


@dataclass(frozen=True)
class _Change:
    """What one commit does to one file; of a binary file there are no hunks."""

    old: str
    new: str
    binary: bool
    hunks: list[_Hunk]


class _Git:
    """The git command on one repository."""

    def __init__(self, repository: str) -> None:
        self.repository = repository
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        self._command = ["git", "--no-pager", "--no-replace-objects", "-C", repository, *settings]
        self._environment = {key: value for key, value in os.environ.items() if key not in _OF_THE_CALLER}
        self._environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}

    def commit(self, name: str) -> str:
        """The full name of the commit that a branch, a tag or another name stands for."""
        self.line("rev-parse", "--git-dir")
        try:
            return self.line("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except InputError:
            raise InputError(
                f"{self.repository}: there is no commit {name!a}; name a branch that has commits"
            ) from None

    def line(self, *arguments: str) -> str:
        """What a short command prints."""
        with self.output(*arguments) as stream:
            return stream.rest().decode("utf-8", "replace").strip()

    @contextmanager
    def output(self, *arguments: str) -> Iterator["_Stream"]:
        """What a command prints, read while it runs; the command ends with the block.

        Raises:
            InputError: git is missing, or the command fails.
        """
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    [*self._command, *arguments],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                )
            except FileNotFoundError:
                raise InputError(f"{self.repository}: reading a history takes git; install it") from None
            except (OSError, ValueError) as fault:
                raise InputError(f"{self.repository}: git cannot be run ({fault}); check the path") from None
            assert process.stdout is not None
            with process.stdout:
                try:
                    yield _Stream(process.stdout)
                    failed = process.wait() != 0
                except EOFError:
                    failed = True
                finally:
                    process.kill()
                    process.wait()
            if failed:
                said.seek(0)
                reason = said.read(2000).decode("utf-8", "replace").strip().splitlines()
                why = reason[0].removeprefix("fatal: ") if reason else "its output ends early"
                raise InputError(f"{self.repository}: git cannot read it ({why}); name the folder of a repository")


class _Stream:
    """The output of a command, taken piece by piece."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._held = b""
        self._at = 0

    def until(self, mark: bytes) -> bytes:
        """Everything up to the next mark, which is taken but not given."""
        searched = self._at
        while (end := self._held.find(mark, searched)) < 0:
            searched = len(self._held) - self._at
            if not self._more():
                raise EOFError
        taken, self._at = self._held[self._at : end], end + len(mark)
        return taken

    def starts(self, text: bytes) -> bool:
        """Whether the next bytes are these."""
        while len(self._held) - self._at < len(text) and self._more():
            pass
        return self._held.startswith(text, self._at)

    def ended(self) -> bool:
        return self._at == len(self._held) and not self._more()

    def rest(self) -> bytes:
        while self._more():
            pass
        return self._held[self._at :]

    def _more(self) -> bool:
        read = self._pipe.read(1 << 20)
        self._held, self._at = self._held[self._at :] + read, 0
        return bool(read)


def _beginning(
    git: _Git, tip: str, marks: list[re.Pattern[str]], since: datetime | None, branch: str
) -> tuple[str, int]:
    """The first commit that is marked, and how many there are from there on."""
    # The oldest commits of a shallow clone come without their parents, so that all of their files seem to be new.
    shallow = git.line("rev-parse", "--is-shallow-repository") == "true"
    after = None if since is None else since if since.tzinfo is not None else since.replace(tzinfo=UTC)
    beginning, commits = None, 0
    with git.output(*_LOG, tip, "--") as stream:
        for commit in _commits(stream):
            if beginning is None and (commit.parents or not shallow) and _marked(commit, marks):
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


def _marked(commit: _Commit, marks: Iterable[re.Pattern[str]]) -> re.Match[str] | None:
    return next((found for mark in marks if (found := mark.search(commit.message))), None)


def _commits(stream: _Stream) -> Iterator[_Commit]:
    """Each commit's header. What follows it must be taken from the stream before the next."""
    while not stream.ended():
        if stream.until(_COMMIT):
            raise EOFError
        yield _Commit(*(stream.until(b"\0").decode("utf-8", "replace") for _ in range(6)))


def _changes(stream: _Stream) -> Iterator[_Change]:
    r"""The changes of the commit whose header was just taken.

    First all files with their names in full, `:modes blobs status\0old\0` and for a rename `new\0`; then, after one
    more `\0`, their hunks in the same order.
    """
    if not stream.starts(b"\n:"):
        return
    stream.until(b"\n")
    files = []
    while stream.starts(b":"):
        old_mode, new_mode, *_, status = stream.until(b"\0")[1:].decode().split(" ")
        old = new = stream.until(b"\0").decode("utf-8", "backslashreplace")
        if status[0] in "RC":
            new = stream.until(b"\0").decode("utf-8", "backslashreplace")
        files.append((old, new, old_mode, new_mode))
    stream.until(b"\0")
    for old, new, old_mode, new_mode in files:
        was, is_now = old_mode.startswith("100"), new_mode.startswith("100")
        binary, hunks = _hunks(stream)
        # What turns into a link or a submodule, or back, is a deletion and a creation.
        if old_mode[:3] != new_mode[:3] and "000" not in (old_mode[:3], new_mode[:3]):
            other_binary, other = _hunks(stream)
            binary, hunks = (binary, hunks) if was else (other_binary, other)
        if was or is_now:
            yield _Change(old, new, binary, hunks)


def _hunks(stream: _Stream) -> tuple[bool, list[_Hunk]]:
    """Whether a file is binary, and its hunks."""
    binary, hunks = False, []
    stream.until(b"\n")  # diff --git
    while not (stream.ended() or stream.starts(b"diff --git ") or stream.starts(_COMMIT)):
        line = stream.until(b"\n")
        if line.startswith(b"Binary files "):
            binary = True
        elif found := _HUNK.match(line):
            at, removed, added = int(found[1]), int(found[2] or 1), int(found[3] or 1)
            # Lines that are put in come after the one that is named.
            hunks.append(_Hunk(at if removed else at + 1, _lines(stream, removed), _lines(stream, added)))
    return binary, hunks


_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")


def _lines(stream: _Stream, number: int) -> list[bytes]:
    """So many lines of one side of a hunk, with their ends; only the last of a file may have none."""
    lines = [stream.until(b"\n")[1:] + b"\n" for _ in range(number)]
    if lines and stream.starts(b"\\"):
        stream.until(b"\n")
        lines[-1] = lines[-1][:-1]
    return lines


# -- following the machine's lines -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Text:
    """Lines that a machine wrote and nobody has changed: which, where they are now, and where they were written."""

    lines: list[bytes]
    at: int
    commit: _Commit
    number: int
    policy: str | None
    path: str
    line: int


@dataclass(frozen=True)
class _Found:
    """One text, and what became of it; without an edit it is still as it was."""

    text: _Text
    path: str
    edit: list[bytes] | None = None
    edit_path: str = ""
    edit_at: int = 0
    by: _Commit | None = None


class _History:
    """The machine's texts as they stand after the commits so far, by file."""

    def __init__(self) -> None:
        self._texts: dict[str, list[_Text]] = {}
        self._commits = 0

    def take(self, commit: _Commit, changes: Iterable[_Change], mark: re.Match[str] | None) -> Iterator[_Found]:
        """Take in the next commit, the machine's if there is a mark; yield the texts that a person changed in it."""
        self._commits += 1
        # The names of two files may be exchanged, so that new ones count only after all old ones.
        moved: dict[str, list[_Text]] = {}
        for change in changes:
            texts = self._texts.pop(change.old, [])
            if change.binary:
                continue
            kept: list[_Text] = []
            shift = 0
            for group in _groups(texts, change.hunks):
                at = group.at + shift
                shift += sum(len(hunk.added) - len(hunk.removed) for hunk in group.hunks)
                if not group.hunks:
                    kept.append(replace(group.texts[0], at=at))
                    continue
                before, after = group.spliced()
                if mark is not None:
                    if after:
                        policy = _policy(mark)
                        kept.append(_Text(after, at, commit, self._commits, policy, change.new, line=at))
                elif group.texts:
                    latest = max(group.texts, key=lambda text: text.number)
                    text = replace(latest, lines=before, at=group.at)
                    yield _Found(text, change.old, after, change.new, at, commit)
            if kept:
                moved[change.new] = kept
        self._texts |= moved

    def accepted(self) -> Iterator[_Found]:
        """The texts that nobody changed."""
        for path, texts in sorted(self._texts.items()):
            for text in texts:
                yield _Found(text, path)


@dataclass
class _Group:
    """Texts and hunks that touch one another, in the order of their lines; `at` and `end` are those of the old file."""

    at: int
    end: int
    texts: list[_Text]
    hunks: list[_Hunk]

    def spliced(self) -> tuple[list[bytes], list[bytes]]:
        """All lines from `at` to `end`, and what the hunks make of them."""
        before = [b""] * (self.end - self.at)
        for text in self.texts:
            before[text.at - self.at : text.at - self.at + len(text.lines)] = text.lines
        for hunk in self.hunks:
            before[hunk.at - self.at : hunk.end - self.at] = hunk.removed
        after: list[bytes] = []
        taken = 0
        for hunk in self.hunks:
            after += before[taken : hunk.at - self.at] + hunk.added
            taken = hunk.end - self.at
        return before, after + before[taken:]


def _groups(texts: Iterable[_Text], hunks: Iterable[_Hunk]) -> Iterator[_Group]:
    """Texts and hunks of one file, each with those that it touches.

    A hunk touches a text when it replaces one of its lines or puts lines between two of them; lines put in just before
    or after a text do not touch it.
    """
    waiting, coming = deque(texts), deque(hunks)
    while waiting or coming:
        if coming and (not waiting or coming[0].at < waiting[0].at or coming[0].end <= waiting[0].at):
            hunk = coming.popleft()
            group = _Group(hunk.at, hunk.end, [], [hunk])
        else:
            text = waiting.popleft()
            group = _Group(text.at, text.at + len(text.lines), [text], [])
        while True:
            if coming and coming[0].at < group.end and group.at < coming[0].end:
                hunk = coming.popleft()
                group.hunks.append(hunk)
                group.at, group.end = min(group.at, hunk.at), max(group.end, hunk.end)
            elif waiting and waiting[0].at < group.end:
                text = waiting.popleft()
                group.texts.append(text)
                group.end = max(group.end, text.at + len(text.lines))
            else:
                break
        yield group


def _policy(mark: re.Match[str]) -> str | None:
    """What a marking trailer names, without the address behind it; nothing where it is a phrase."""
    line = mark.string[mark.string.rfind("\n", 0, mark.start() + 1) + 1 :].split("\n", 1)[0]
    found = re.fullmatch(r"[\w-]+:\s*(.*?)\s*(?:<[^<>]*>)?\s*", line)
    return (found[1] or None) if found else None


def _row(place: int, found: _Found, folder: str, user: User) -> Row:
    text, by = found.text, found.by
    metadata: dict[str, Any] = {
        "repository": folder.removesuffix(".git"),
        "path": found.path,
        "commit": text.commit.name,
        "lines": [text.at, text.at + len(text.lines) - 1],
    }
    if by is not None:
        metadata["edit_commit"] = by.name
        if found.edit_path != found.path:
            metadata["edit_path"] = found.edit_path
        if found.edit:
            metadata["edit_lines"] = [found.edit_at, found.edit_at + len(found.edit) - 1]
    try:
        response = b"".join(text.lines).decode("utf-8")
        edit = response if found.edit is None else b"".join(found.edit).decode("utf-8")
    except UnicodeDecodeError:
        first, last = metadata["lines"]
        fault = f"{found.path}, lines {first} to {last}, of commit {text.commit.name[:12]}: not UTF-8; save it as UTF-8"
        return Row(place, fault=fault, raw=json.dumps(metadata, ensure_ascii=False))
    fields: dict[str, Any] = {
        "id": f"{text.commit.name}:{text.path}:{text.line}",
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
    return Row(place, fields)
