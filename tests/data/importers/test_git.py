import json
import os
import random
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copydesk.data import EditRecord
from copydesk.data.importers.git_edits import build_git_source
from copydesk.errors import InputError

BY_MACHINE = "Draft\n\nAssisted-by: model-x 2 <x@example.com>\n"


def quoted(path: str) -> str:
    return json.dumps(path, ensure_ascii=False)


@dataclass
class Repository:
    """A history that is written down commit by commit and made by one `git fast-import`."""

    folder: Path
    stream: list[bytes] = field(default_factory=list)
    commits: int = 0

    def commit(
        self,
        files: Mapping[str, bytes | str | None],
        message: str = "change",
        *,
        author: str = "Ann <ann@example.com>",
        renames: Mapping[str, str] | None = None,
        mode: str = "100644",
        parents: Sequence[int] | None = None,
        branch: str = "main",
    ) -> int:
        self.commits += 1
        when = f"{1_700_000_000 + 3600 * self.commits} +0100"
        said = message.encode()
        self.stream.append(
            f"commit refs/heads/{branch}\nmark :{self.commits}\nauthor {author} {when}\n"
            f"committer Bo <bo@example.com> {when}\ndata {len(said)}\n".encode()
            + said
            + b"\n"
        )
        if parents is None:
            parents = [self.commits - 1] if self.commits > 1 else []
        for word, parent in zip(["from", *["merge"] * len(parents)], parents, strict=False):
            self.stream.append(f"{word} :{parent}\n".encode())
        for old, new in (renames or {}).items():
            self.stream.append(f"R {quoted(old)} {quoted(new)}\n".encode())
        for path, text in files.items():
            if text is None:
                self.stream.append(f"D {quoted(path)}\n".encode())
            else:
                content = text.encode() if isinstance(text, str) else text
                self.stream.append(f"M {mode} inline {quoted(path)}\ndata {len(content)}\n".encode() + content + b"\n")
        return self.commits

    def make(self) -> list[str]:
        """Write the repository; the names of its commits, the first at 1."""
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        run = {"check": True, "capture_output": True, "env": environment}
        subprocess.run(["git", "init", "-q", "--template=", "--initial-branch=main", str(self.folder)], **run)  # type: ignore[call-overload]
        marks = self.folder / ".git" / "marks"
        import_ = ["git", "-C", str(self.folder), "fast-import", "--quiet", f"--export-marks={marks}"]
        subprocess.run(import_, input=b"".join(self.stream), **run)  # type: ignore[call-overload]
        named = dict(line[1:].split() for line in marks.read_text().splitlines())
        return ["", *(named[str(number)] for number in range(1, self.commits + 1))]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "letters")


def rows(repository: Repository, **options: Any) -> list[dict[str, Any]]:
    found = list(build_git_source(repository.folder, **options).rows())
    assert [row.number for row in found] == list(range(1, len(found) + 1))
    fields = []
    for row in found:
        assert row.fields is not None, row.error
        EditRecord.model_validate(dict(row.fields))
        fields.append(dict(row.fields))
    return fields


def pairs(repository: Repository, **options: Any) -> list[tuple[str, str]]:
    return [(row["response"], row["edit"]) for row in rows(repository, **options)]


# -- what a row holds --------------------------------------------------------------------------------------------------


def test_a_row_says_where_its_texts_stand(repository: Repository) -> None:
    repository.commit({"a.txt": "1\n2\n"})
    repository.commit({"a.txt": "1\nx\ny\n2\n"}, BY_MACHINE)
    repository.commit({"a.txt": "0\n1\nx\ny\n2\n"})
    repository.commit({"a.txt": "0\n1\nx\nY\n2\n"}, author="Cy <cy@example.com>")
    names = repository.make()
    [row] = rows(repository)
    assert row == {
        "id": f"{names[2]}:a.txt:2",
        "context": f"a.txt\n\n{BY_MACHINE.rstrip()}",
        "response": "x\ny\n",
        "edit": "x\nY\n",
        "user": "Cy",
        "policy": "model-x 2",
        "created_at": "2023-11-15T01:13:20+01:00",
        "metadata": {
            "repository": "letters",
            "path": "a.txt",
            "commit": names[2],
            "lines": [3, 4],
            "edit_commit": names[4],
            "edit_lines": [3, 4],
        },
    }
    assert rows(repository, user="email")[0]["user"] == "cy@example.com"
    assert "user" not in rows(repository, user="none")[0]


def test_lines_that_nobody_changed_are_accepted_and_have_no_user(repository: Repository) -> None:
    repository.commit({"a": "x\n"}, BY_MACHINE)
    repository.commit({"a": "0\nx\n1\n"})
    repository.make()
    [row] = rows(repository)
    assert row["edit"] == row["response"] == "x\n"
    assert "user" not in row
    assert row["metadata"]["lines"] == [2, 2]
    assert "edit_commit" not in row["metadata"]


def test_an_id_stays_when_the_history_grows(repository: Repository) -> None:
    repository.commit({"a": "x\ny\n"}, BY_MACHINE)
    repository.commit({"a": "0\nx\ny\n"})
    repository.commit({"a": "0\nx\nY\n"})
    repository.make()
    [accepted] = rows(repository, branch="main~1")
    [edited] = rows(repository)
    assert accepted["id"] == edited["id"]
    assert (accepted["edit"], edited["edit"]) == ("x\ny\n", "x\nY\n")


def test_every_hunk_is_a_row_and_every_edit_only_the_first(repository: Repository) -> None:
    repository.commit({"a": "1\n2\n3\n"})
    repository.commit({"a": "x\n1\n2\ny\n3\n", "b": "z\n"}, BY_MACHINE)
    repository.commit({"a": "X\n1\n2\ny\n3\n"})
    repository.commit({"a": "XX\n1\n2\ny\n3\n"})
    repository.make()
    assert pairs(repository) == [("x\n", "X\n"), ("y\n", "y\n"), ("z\n", "z\n")]


def test_a_change_that_reaches_beyond_widens_the_text(repository: Repository) -> None:
    repository.commit({"a": "1\n2\n3\n4\n"})
    repository.commit({"a": "1\n2\nx\ny\n3\n4\n"}, BY_MACHINE)
    repository.commit({"a": "1\nQ\nR\ny\n3\n4\n"})
    repository.make()
    assert pairs(repository) == [("2\nx\ny\n", "Q\nR\ny\n")]


def test_one_change_over_two_texts_makes_them_one_row(repository: Repository) -> None:
    repository.commit({"a": "1\n2\n3\n"})
    repository.commit({"a": "x\n1\n2\n3\n"}, "first\n\nGenerated-by: one")
    repository.commit({"a": "x\n1\n2\ny\n3\n"}, "second\n\nGenerated-by: two")
    repository.commit({"a": "Q\n3\n"})
    repository.make()
    [row] = rows(repository)
    assert (row["response"], row["edit"], row["policy"]) == ("x\n1\n2\ny\n", "Q\n", "two")


def test_lines_put_in_between_are_an_edit_and_lines_put_beside_are_not(repository: Repository) -> None:
    repository.commit({"a": "x\ny\n", "b": "x\ny\n"}, BY_MACHINE)
    repository.commit({"a": "0\nx\ny\n1\n", "b": "x\nq\ny\n"})
    repository.make()
    assert pairs(repository) == [("x\ny\n", "x\nq\ny\n"), ("x\ny\n", "x\ny\n")]


def test_where_the_machine_changes_its_own_lines_the_later_text_counts(repository: Repository) -> None:
    repository.commit({"a": "x\ny\nz\n"}, "first\n\nGenerated-by: one")
    repository.commit({"a": "x\nY\nz\n"}, "second\n\nGenerated-by: two")
    repository.commit({"a": "x\nY\nZ\n"})
    repository.make()
    [row] = rows(repository)
    assert (row["response"], row["edit"], row["policy"]) == ("x\nY\nz\n", "x\nY\nZ\n", "two")


def test_deleted_lines_and_files_have_an_empty_edit(repository: Repository) -> None:
    repository.commit({"a": "1\n"})
    repository.commit({"a": "1\nx\n", "b": "y\n", "c": "z\n", "d": "w\n"}, BY_MACHINE)
    repository.commit({"c": None}, BY_MACHINE)
    repository.commit({"a": "1\n", "b": None})
    repository.commit({"d": "w", "e": "link"}, mode="120000")
    repository.make()
    assert pairs(repository) == [("x\n", ""), ("y\n", ""), ("w\n", "")]
    assert "edit_lines" not in rows(repository)[0]["metadata"]


def test_texts_follow_renames_even_where_two_files_change_names(repository: Repository) -> None:
    body = "".join(f"line {number}\n" for number in range(20))
    repository.commit({"a": "1\nx\n", "b": body}, BY_MACHINE)
    repository.commit({}, renames={"b": "new/b"})
    repository.commit({}, renames={"new/b": "c"})
    repository.commit({"d": body.replace("line 7", "line seven"), "c": None})
    repository.make()
    edited, accepted = rows(repository)
    assert accepted["response"] == "1\nx\n"
    assert edited["context"].startswith("b\n\n")
    assert (edited["response"], edited["edit"]) == (body, body.replace("line 7", "line seven"))
    assert (edited["metadata"]["path"], edited["metadata"]["edit_path"]) == ("c", "d")


def test_names_and_texts_may_be_odd(repository: Repository) -> None:
    odd = 'a "b"\t c\nd é.txt'
    text = "\ufeffdiff --git a/x b/x\r\n\\ No newline\n--- a\n@@ -1 +1 @@\n\x02commit\u2028\u0085\nlast"
    repository.commit({odd: text, "-x": "y\n", ":(top)z": "z\n"}, BY_MACHINE)
    repository.commit({odd: text + "\n"})
    repository.make()
    assert pairs(repository) == [(text, text + "\n"), ("y\n", "y\n"), ("z\n", "z\n")]
    assert rows(repository)[0]["metadata"]["path"] == odd


def test_binary_files_links_and_modes_are_passed_over(repository: Repository) -> None:
    repository.commit({"bin": b"\0\1\n", "t": "x\n", "u": "y\n"}, BY_MACHINE)
    repository.commit({"link": "target"}, BY_MACHINE, mode="120000")
    repository.commit({"link": "text\n"}, BY_MACHINE)
    repository.commit({"t": "x\n"}, mode="100755")
    repository.commit({"bin": b"\0\2\n", "u": b"\0\0"})
    repository.make()
    assert pairs(repository) == [("text\n", "text\n"), ("x\n", "x\n")]


def test_text_that_is_not_utf8_is_a_bad_row(repository: Repository) -> None:
    repository.commit({"a": b"caf\xe9\n", "b": "y\n"}, BY_MACHINE)
    repository.make()
    bad, good = build_git_source(repository.folder).rows()
    assert bad.fields is None
    assert bad.error is not None and bad.error.startswith("a, lines 1 to 1, of commit ")
    assert bad.raw is not None and json.loads(bad.raw)["path"] == "a"
    assert good.fields is not None


def test_a_merge_is_one_change_by_its_own_author(repository: Repository) -> None:
    base = repository.commit({"a": "1\n"})
    written = repository.commit({"a": "1\nx\n"}, BY_MACHINE)
    side = repository.commit({"b": "side\n"}, BY_MACHINE, parents=[base], branch="side")
    repository.commit(
        {"a": "1\nX\n", "b": "side\n"}, "Merge", author="Di <di@example.com>", parents=[written, side], branch="main"
    )
    names = repository.make()
    [row] = rows(repository)
    assert (row["response"], row["edit"], row["user"]) == ("x\n", "X\n", "Di")
    assert pairs(repository, branch="side") == [("side\n", "side\n")]
    assert pairs(repository, branch=names[written]) == [("x\n", "x\n")]


# -- which commits are a machine's -------------------------------------------------------------------------------------


def test_marked(repository: Repository) -> None:
    policies = {
        "Fix\n\nGenerated-by: model-x 2": "model-x 2",
        "Fix\n\nCo-authored-by: Ann <ann@example.com>\nCo-Authored-By: Some Model <noreply@example.com>": "Some Model",
        "Fix\n\nCo-authored-by: Copilot <copilot@github.com>": "Copilot",
        "Fix\n\nCo-authored-by: pen[bot] <pen[bot]@users.noreply.github.com>": "pen[bot]",
        "This was written with AI.": None,
    }
    for number, message in enumerate(policies):
        repository.commit({str(number): "x\n"}, message)
    repository.make()
    found = [(row["context"].split("\n\n", 1)[1], row.get("policy")) for row in rows(repository)]
    assert found == list(policies.items())


def test_not_marked(repository: Repository) -> None:
    for number, message in enumerate(
        [
            "Fix",
            "Fix\n\nCo-authored-by: Ann <1+ann@users.noreply.github.com>",
            "Bump\n\nCo-authored-by: dependabot[bot] <support@github.com>",
            "Say who is assisted-by: nobody",
        ]
    ):
        repository.commit({str(number): "x\n"}, message)
    repository.make()
    with pytest.raises(InputError, match=r"no commit of HEAD is marked as written by a machine; name with --mark"):
        rows(repository)


def test_marks_of_ones_own_and_a_beginning(repository: Repository) -> None:
    repository.commit({"a": "x\n"}, "robot: one")
    repository.commit({"b": "y\n"}, "robot: two")
    repository.make()
    assert pairs(repository, mark=["^ROBOT:"]) == [("x\n", "x\n"), ("y\n", "y\n")]
    late = datetime.fromtimestamp(1_700_000_000 + 7000, UTC)
    assert pairs(repository, mark=["^robot:"], since=late.replace(tzinfo=None)) == [("y\n", "y\n")]
    with pytest.raises(InputError, match=r"is marked as written by a machine since 2030-01-01; name"):
        rows(repository, mark=["^robot:"], since=datetime(2030, 1, 1))
    with pytest.raises(InputError, match=r"'\(' is not a regular expression .*; fix it or leave it out"):
        build_git_source(repository.folder, mark=["("])


def test_the_first_commit_of_a_shallow_clone_is_not_taken_for_a_machines(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"old": "1\n"})
    repository.commit({"a": "x\n"}, BY_MACHINE)
    repository.commit({"b": "y\n"}, BY_MACHINE)
    repository.make()
    clone = Repository(tmp_path / "clone")
    source = repository.folder.as_uri()
    subprocess.run(["git", "clone", "-q", "--bare", "--depth=2", source, str(clone.folder)], check=True)
    assert pairs(clone) == [("y\n", "y\n")]


# -- the source as a whole ---------------------------------------------------------------------------------------------


def test_settings_of_the_user_change_nothing(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"a": "1\n2\n"})
    repository.commit({"a": "1\nx\n2\n", "b": "y\n"}, BY_MACHINE)
    repository.commit({"a": "1\nX\n2\n", "B": "y\n", "b": None})
    repository.make()
    plain = rows(repository)
    (tmp_path / "order").write_text("b\nB\na\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    (tmp_path / "config").write_text(
        "[diff]\n context = 5\n interHunkContext = 9\n renames = false\n noprefix = true\n mnemonicPrefix = true\n"
        f" external = false\n orderFile = {tmp_path / 'order'}\n algorithm = patience\n[color]\n ui = always\n"
        "[log]\n showRoot = false\n showSignature = true\n diffMerges = off\n[core]\n quotepath = true\n"
    )
    monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=7")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert rows(repository) == plain


def test_what_it_is_called_and_how_far_it_is(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.commit({"a": "x\n"}, BY_MACHINE)
    repository.commit({"a": "X\n"})
    repository.make()
    monkeypatch.chdir(repository.folder)
    source = build_git_source(".")
    assert source.has_record_fields
    assert source.rejected_path == repository.folder.with_name("letters.rejected.jsonl")
    assert source.progress() is None
    first = list(source.rows())
    assert source.progress() == 1.0
    assert list(source.rows()) == first


def test_a_reading_that_is_given_up_leaves_no_process(repository: Repository) -> None:
    repository.commit({"a": "x\n"}, BY_MACHINE)
    # So much that git is still writing when the first row is there.
    repository.commit({"a": "X\n", "b": ("y" * 100_000 + "\n") * 40})
    repository.make()
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if not children.exists():
        pytest.skip("this system does not list children")
    # Other tests of the same process may have left a helper of multiprocessing.
    before = set(children.read_text().split())
    found = build_git_source(repository.folder).rows()
    next(found)
    assert set(children.read_text().split()) - before
    found.close()  # type: ignore[attr-defined]
    assert not set(children.read_text().split()) - before


def test_what_is_no_repository_is_named(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(InputError, match=r"not a git repository.*; name the folder of a repository") as raised:
        list(build_git_source(tmp_path).rows())
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=r"missing: git cannot read it \(.*No such file.*\)"):
        list(build_git_source(tmp_path / "missing").rows())
    repository.make()
    with pytest.raises(InputError, match=r"there is no commit 'HEAD'; name a branch that has commits"):
        rows(repository)
    with pytest.raises(InputError, match=r"there is no commit '--all'; name a branch"):
        rows(repository, branch="--all")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"reading a history needs git; install it"):
        rows(repository)


# -- against the truth -------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """A history that was made up: for each commit its files as lists of lines, and whether it is a machine's."""

    files: list[dict[str, list[str]]] = field(default_factory=lambda: [{}])
    machine: list[bool] = field(default_factory=lambda: [False])
    renames: list[dict[str, str]] = field(default_factory=lambda: [{}])

    def write(self, folder: Path) -> list[str]:
        repository = Repository(folder)
        for number in range(1, len(self.files)):
            now, renames = self.files[number], self.renames[number]
            before = {renames.get(path, path): lines for path, lines in self.files[number - 1].items()}
            changed: dict[str, str | None] = {path: None for path in before if path not in now}
            changed |= {path: "".join(lines) for path, lines in now.items() if before.get(path) != lines}
            message = BY_MACHINE if self.machine[number] else "change"
            repository.commit(changed, message, renames=renames)
        return repository.make()


# Starting git costs more than reading commits does, so that there are few histories, and long ones.
COMMITS = 40


def made_up(seed: int, words: int | None) -> Told:
    """A random history. Its lines are all different, or else taken from so many."""
    dice, told, fresh = random.Random(seed), Told(), 0

    def new_lines() -> list[str]:
        nonlocal fresh
        number = dice.choice([1, 1, 2, 3, 5])
        fresh += number
        return [f"{dice.randrange(words) if words else fresh - at}\n" for at in range(number)]

    for _ in range(COMMITS):
        files = {path: list(lines) for path, lines in told.files[-1].items()}
        renames = {}
        for path in sorted(files):
            kind = dice.random()
            if kind < 0.07:
                del files[path]
            elif kind < 0.15 and files[path] and not words:
                renames[path] = f"{dice.choice('xyz')}{len(told.files)}{path}"
                files[renames[path]] = files.pop(path)
            elif kind < 0.75:
                lines = files[path]
                for _ in range(dice.randint(1, 3)):
                    at = dice.randint(0, len(lines))
                    lines[at : at + dice.choice([0, 0, 1, 1, 2, 4])] = new_lines() if dice.random() < 0.7 else []
        for path in "ab":
            # Git does not see a rename where a new file takes the place of the old one.
            if path not in files and path not in told.files[-1] and dice.random() < 0.5:
                files[path] = new_lines() + new_lines()
        told.files.append(files)
        told.machine.append(dice.random() < 0.45)
        told.renames.append(renames)
    return told


def truth(told: Told) -> list[tuple[Any, ...]]:
    """What the source must find, where no line occurs twice: each line carries the number of its text along."""
    owner: dict[str, int] = {}
    origin: dict[int, int] = {}
    edited = []
    for number in range(1, len(told.files)):
        commit_rows = []
        for old_path, old in told.files[number - 1].items():
            new_path = told.renames[number].get(old_path, old_path)
            commit_rows += change(
                told, number, old_path, old, new_path, told.files[number].get(new_path, []), owner, origin
            )
        known = {told.renames[number].get(path, path) for path in told.files[number - 1]}
        for path, new in told.files[number].items():
            if path not in known:
                commit_rows += change(told, number, path, [], path, new, owner, origin)
        edited += commit_rows
    for path, lines in told.files[-1].items():
        for text in sorted({owner[line] for line in lines if line in owner}):
            mine = [line for line in lines if owner.get(line) == text]
            at = lines.index(mine[0])
            assert lines[at : at + len(mine)] == mine
            edited.append((origin[text], None, path, at + 1, "".join(mine), "".join(mine)))
    return edited


def change(
    told: Told,
    number: int,
    old_path: str,
    old: list[str],
    new_path: str,
    new: list[str],
    owner: dict[str, int],
    origin: dict[int, int],
) -> list[tuple[Any, ...]]:
    kept = set(old) & set(new)
    gaps = []
    i = j = 0
    while i < len(old) or j < len(new):
        a, c = i, j
        while i < len(old) and old[i] not in kept:
            i += 1
        while j < len(new) and new[j] not in kept:
            j += 1
        if (i, j) != (a, c):
            gaps.append((a, i, c, j))
        i, j = i + 1, j + 1
    parts: list[tuple[set[int], list[tuple[int, int, int, int]]]] = []
    for gap in gaps:
        a, b, *_ = gap
        texts = {owner[line] for line in old[a:b] if line in owner}
        if a == b and 0 < a < len(old) and owner.get(old[a - 1]) == owner.get(old[a]) is not None:
            texts.add(owner[old[a]])
        joined, others = [gap], []
        for part in parts:
            if part[0] & texts:
                texts |= part[0]
                joined = part[1] + joined
            else:
                others.append(part)
        parts = [*others, (texts, joined)]
    found = []
    for texts, joined in parts:
        places = [at for at, line in enumerate(old) if owner.get(line) in texts]
        places += [at for a, b, *_ in joined for at in range(a, b)]
        if not places:
            places_new = list(range(joined[0][2], joined[0][3]))
        else:
            low, high = min(places), max(places) + 1
            inside = [new.index(line) for line in old[low:high] if line in kept]
            places_new = inside + [at for _, _, c, d in joined for at in range(c, d)]
        edit = [new[at] for at in sorted(places_new)]
        if told.machine[number]:
            for line in edit:
                owner[line] = len(origin)
            origin[len(origin)] = number
        elif texts:
            response = "".join(old[low:high])
            found.append((max(origin[text] for text in texts), number, old_path, low + 1, response, "".join(edit)))
            for line in old[low:high]:
                owner.pop(line, None)
    for line in set(old) - set(new):
        owner.pop(line, None)
    return found


def found_in(folder: Path, names: list[str]) -> list[tuple[Any, ...]]:
    found = []
    for row in build_git_source(folder).rows():
        assert row.fields is not None
        where = row.fields["metadata"]
        by = names.index(where["edit_commit"]) if "edit_commit" in where else None
        texts = row.fields["response"], row.fields["edit"]
        assert len(texts[0].splitlines()) == where["lines"][1] - where["lines"][0] + 1
        found.append((names.index(where["commit"]), by, where["path"], where["lines"][0], *texts))
    return found


SLOW = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(st.integers(0, 2**32))
def test_lines_are_followed_exactly(seed: int) -> None:
    told = made_up(seed, words=None)
    if not any(told.machine):
        return
    with TemporaryDirectory() as folder:
        names = told.write(Path(folder) / "r")
        assert sorted(found_in(Path(folder) / "r", names), key=str) == sorted(truth(told), key=str)


@SLOW
@given(st.integers(0, 2**32))
def test_texts_stand_where_the_metadata_say(seed: int) -> None:
    """Also where the same lines occur again and again, so that only git can say which of them are which."""
    told = made_up(seed, words=3)
    if not any(told.machine):
        return
    with TemporaryDirectory() as folder:
        names = told.write(Path(folder) / "r")
        for row in build_git_source(Path(folder) / "r").rows():
            assert row.fields is not None
            where = row.fields["metadata"]
            by = names.index(where["edit_commit"]) if "edit_commit" in where else len(told.files)
            first, last = where["lines"]
            assert "".join(told.files[by - 1][where["path"]][first - 1 : last]) == row.fields["response"]
            if "edit_lines" in where:
                first, last = where["edit_lines"]
                lines = told.files[by][where.get("edit_path", where["path"])]
                assert "".join(lines[first - 1 : last]) == row.fields["edit"] != row.fields["response"]


def blamed(folder: Path, path: str) -> list[str]:
    """The commit that each line of a file comes from, as git has it."""
    blame = ["git", "-C", str(folder), "blame", "-l", "--root", "main", "--", path]
    said = subprocess.run(blame, check=True, capture_output=True, text=True).stdout
    return re.findall(r"^([0-9a-f]{40})", said, re.MULTILINE)


def test_git_blames_the_machine_for_what_was_accepted(tmp_path: Path) -> None:
    told = made_up(5, words=None)
    names = told.write(tmp_path / "r")
    machine = {name for name, by_machine in zip(names, told.machine, strict=True) if by_machine}
    accepted = [
        fields["metadata"] for fields in rows(Repository(tmp_path / "r")) if "edit_commit" not in fields["metadata"]
    ]
    origins = {path: blamed(tmp_path / "r", path) for path in {where["path"] for where in accepted}}
    for where in accepted:
        first, last = where["lines"]
        assert where["commit"] in set(origins[where["path"]][first - 1 : last]) <= machine
    assert accepted
