"""`copydesk import`, from files and products to rows in a store."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.support.commands import error_of
from tests.support.web import serve_files
from typer.testing import CliRunner, Result

from copydesk.cli.import_ import import_command
from copydesk.data.record import EditRecord
from copydesk.ensemble.ledger import Ledger
from copydesk.store import EditStore, import_rows, read_edits, tables
from copydesk.store.events import read_setup_events
from copydesk.store.write import append_config

STORE = "copydesk.db"


def run(*words: str, stdin: bytes | None = None) -> Result:
    app = typer.Typer()
    app.command()(import_command)
    return CliRunner().invoke(app, list(words), input=stdin)


def said(*words: str, stdin: bytes | None = None) -> dict[str, Any]:
    result = run(*words, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def error(*words: str) -> str:
    return error_of(run(*words, "--json"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands run, and where the store is that is not named."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, *rows: Any) -> str:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    Path(name).write_bytes(b"".join(line + b"\n" for line in lines))
    return name


def row(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "context": "c", "response": f"to {name}", "edit": f"for {name}", **fields}


def stored(store: str = STORE, **which: Any) -> list[EditRecord]:
    opened = EditStore.open(store, create=False)
    with opened.begin_read() as connection:
        found = [one.record for one in read_edits(connection, pending=True, **which)]
    opened.close()
    return found


def rejects(file: str = "log.jsonl.rejected.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text(encoding="ascii").splitlines()]


BAD: list[tuple[Any, str]] = [
    (b"{not json", "not JSON at column 2"),
    (b"[1, 2]", "a list where one JSON object is expected"),
    (b'{"context": "c", "response": "\xff"}', "is not UTF-8"),
    (b'{"context": "c", "response": "r", "cost": NaN}', "NaN is not JSON"),
    (b'{"context": "c", "response": "r", "metadata": {"k": -Infinity}}', "-Infinity is not JSON"),
    (b'{"context": "c", "response": "r", "cost": 1e999}', "1e999 is too large"),
    (b'{"context": "c", "response": "r", "edit": "\\ud83d"}', "half of a surrogate pair"),
    (b'{"context": "c", "context": "d", "response": "r"}', "field 'context' appears twice"),
    (row("a", edit=None, cost=-1), "field 'cost' must be a number of at least 0"),
    ({"context": "c"}, "field 'response' is missing"),
    (row("a", response=5), "field 'response'"),
    (row("a", propensity=1.5), "field 'propensity'"),
    (row("a", created_at="soon"), "field 'created_at'"),
    (row("a", edit="a\x00b"), "holds a NUL character"),
    (row("a", edit="x" * 101), "field 'edit' has 101 characters; at most 100 are taken (--max-text)"),
    (row("good", response="another"), "'good' is already in the store with other texts"),
]


def test_bad_rows_are_beside_the_file_with_their_line_and_reason_and_the_good_ones_are_in() -> None:
    write("log.jsonl", row("good"), b"", *[bad for bad, _ in BAD], row("last"))
    document = said("log.jsonl", "--max-text", "100")
    assert (document["rows"], document["added"], document["rejected"]) == (len(BAD) + 2, 2, len(BAD))
    assert document["rejected_file"] == "log.jsonl.rejected.jsonl"
    assert [one.id for one in stored()] == ["good", "last"]
    found = rejects()
    assert [one["line"] for one in found] == list(range(3, len(BAD) + 3))
    for (bad, reason), one in zip(BAD, found, strict=True):
        assert reason in one["reason"]
        if isinstance(bad, bytes):
            assert one["raw"] == bad.decode(errors="backslashreplace")
            assert "row" not in one
        else:
            assert one["row"] == bad
            assert "raw" not in one
    assert [(one["line"], one["reason"]) for one in found[:5]] == [
        (one["line"], one["reason"]) for one in document["first_rejected"]
    ]
    shown = run("log.jsonl", "--max-text", "100").stdout
    assert f"{len(BAD)}, in log.jsonl.rejected.jsonl" in shown
    assert "log.jsonl:3: not JSON at column 2" in shown
    assert "there already" in shown


def test_fixed_rows_are_imported_and_the_file_of_rejected_rows_is_removed(folder: Path) -> None:
    write("log.jsonl", row("a"), {"context": "c"})
    said("log.jsonl")
    assert len(rejects()) == 1
    write("log.jsonl", row("a"), row("b"))
    document = said("log.jsonl")
    assert (document["added"], document["known"], document["rejected_file"]) == (1, 1, None)
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(STORE)) == ["log.jsonl"]


def test_rejected_rows_go_to_the_named_file() -> None:
    write("log.jsonl", row("a"), {"context": "c"})
    assert said("log.jsonl", "--rejected", "bad.jsonl")["rejected_file"] == "bad.jsonl"
    assert len(rejects("bad.jsonl")) == 1
    assert not Path("log.jsonl.rejected.jsonl").exists()
    assert "create it first" in error("log.jsonl", "--rejected", "missing/bad.jsonl")


def test_strict_stops_at_the_first_bad_row_and_continues_once_it_is_fixed() -> None:
    rows = [row(str(i)) for i in range(5)]
    write("log.jsonl", *rows[:2], b"{", *rows[2:])
    result = run("log.jsonl", "--strict", "--json")
    assert error_of(result).startswith("log.jsonl:3: not JSON at column 1")
    assert [one.id for one in stored()] == ["0", "1"]
    assert not Path("log.jsonl.rejected.jsonl").exists()
    write("log.jsonl", *rows)
    assert said("log.jsonl", "--strict")["added"] == 3
    assert said("log.jsonl", "--store", "other.db")["added"] == 5
    assert stored() == stored("other.db")


def test_a_bad_row_ends_the_command_with_code_2(folder: Path) -> None:
    write("log.jsonl", row("a"), b"{")
    command = [sys.executable, "-m", "copydesk", "import", "log.jsonl", "--strict"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 2
    assert done.stderr.startswith("copydesk: log.jsonl:2: not JSON")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".db") == ["log.jsonl"]


def test_duplicates_are_counted_and_an_edit_that_came_later_is_a_revision() -> None:
    write("log.jsonl", row("a"), row("b", edit=None), row("again", response="to a", edit="for a"))
    first = said("log.jsonl")
    assert (first["rows"], first["added"], first["pending"], first["repeated"]) == (3, 2, 1, 1)
    write("log.jsonl", row("a"), row("b", user="ann"), row("c", edit=None))
    second = said("log.jsonl")
    assert (second["added"], second["updated"], second["known"], second["pending"]) == (1, 1, 1, 1)
    assert [(one.id, one.edit, one.user) for one in stored()] == [
        ("a", "for a", None), ("b", "for b", "ann"), ("c", None, None),
    ]  # fmt: skip
    shown = run("log.jsonl").stdout.split()
    assert "already" in shown
    assert "updated" not in shown


def test_ids_get_a_prefix_and_rows_a_tenant() -> None:
    write("log.jsonl", row("1"), row("1", response="another"), {"context": "c", "response": "has no id"})
    assert said("log.jsonl", "--id-prefix", "mail-", "--tenant", "acme")["rejected"] == 1
    first, second = [one.id for one in stored(tenant="acme")]
    assert first == "mail-1"
    assert len(second) == 32  # made from the content, and without the prefix
    assert not stored(tenant="default")
    assert said("log.jsonl", "--tenant", "other", "--id", "none")["added"] == 3
    assert "--id nokey" in error("log.jsonl", "--id", "nokey")
    assert "--tenant 'a/b'" in error("log.jsonl", "--tenant", "a/b")


def test_a_dry_run_shows_everything_and_leaves_nothing(folder: Path) -> None:
    rows = [
        {"prompt": f"p{i}", "rejected": f"r{i}", "chosen": None if i == 2 else "[x]", "team": "t"} for i in range(5)
    ]
    write("log.jsonl", *rows, b"{")
    document = said("log.jsonl", "--dry-run")
    assert (document["good"], document["pending"], document["rejected"], document["rows"]) == (5, 1, 1, 6)
    assert {one["field"]: one["key"] for one in document["mapping"]} == {
        "id": "", "context": "prompt", "response": "rejected", "edit": "chosen", "metadata": "team",
    }  # fmt: skip
    assert [one["context"] for one in document["examples"]] == ["p0", "p1", "p2"]
    assert document["first_rejected"][0]["line"] == 6
    shown = run("log.jsonl", "--dry-run").stdout
    for words in (
        "rejected",
        "guessed from its name",
        "[x]",
        "5 good rows (1 of them pending), 1 bad ones",
        "log.jsonl:6",
    ):
        assert words in shown
    assert [path.name for path in folder.iterdir()] == ["log.jsonl"]


def test_keys_are_named_where_they_cannot_be_guessed() -> None:
    write("log.jsonl", {"q": "c", "a": "r", "meta": {"who": "ann", "fixed": "e"}, "user": "not her", "id": "1"})
    assert "--response KEY" in error("log.jsonl")
    keys = ["--context", "q", "--response", "a", "--edit", "meta.fixed", "--user", "meta.who", "--id", "none"]
    document = said("log.jsonl", *keys)
    assert {one["field"]: one["how"] for one in document["mapping"]}["edit"] == "given by --edit"
    (record,) = stored()
    assert (record.context, record.response, record.edit, record.user) == ("c", "r", "e", "ann")
    assert record.id != "1"
    assert "--edit nokey" in error("log.jsonl", "--context", "q", "--response", "a", "--edit", "nokey")


def settings_of(store: str = STORE) -> Any:
    opened = EditStore.open(store, create=False)
    with opened.begin_read() as connection:
        settings = Ledger().fold(read_setup_events(connection)).config
        costs = connection.execute(tables.edits.select()).all()
    opened.close()
    assert settings is not None
    assert {one.metric for one in costs} <= {settings.metric}
    return settings, [one.cost for one in costs]


def test_the_first_import_says_how_edits_are_costed_and_later_ones_follow() -> None:
    write("log.jsonl", row("a", response="a b c d", edit="a b c x"))
    words = ["--unit", "word", "--normalize", "none", "--c-max", "2"]
    assert said("log.jsonl", *words)["metric"] == "levenshtein/word/none/cap=2.0"
    write("more.jsonl", row("b", response="a b c d", edit="x y z d"))
    assert said("more.jsonl")["metric"] == "levenshtein/word/none/cap=2.0"
    assert settings_of()[1] == [1.0, 2.0]
    assert "this store's costs are levenshtein/word/none/cap=2.0" in error("more.jsonl", "--unit", "character")
    assert said("more.jsonl", *words)["known"] == 1


@pytest.mark.parametrize("metric", ["", "levenshtein/word/response/cap=3.0"])
def test_a_store_that_does_not_say_how_its_costs_are_made_keeps_its_ensemble(metric: str) -> None:
    opened = EditStore.open(STORE)
    with opened.begin_write() as tx:
        append_config(tx, {"rule": "thompson", "scope": "user", "metric": metric}, at=0.0)
    opened.close()
    write("log.jsonl", row("a"))
    if metric:
        assert f"this store's costs are {metric}" in error("log.jsonl")
    said("log.jsonl", "--unit", "word")
    settings, _ = settings_of()
    assert (settings.rule, settings.scope, settings.metric) == ("thompson", "user", "levenshtein/word/response/cap=3.0")
    assert settings.cost["unit"] == "word"


@pytest.mark.slow
def test_redacted_texts_are_stored_redacted() -> None:
    write(
        "log.jsonl",
        row("a", context="Mail ann@example.com", edit="Mail ann@example.com or +1 415 555 2671", user="u@x.org"),
    )
    document = said("log.jsonl", "--redact")
    (record,) = stored()
    assert "example.com" not in record.model_dump_json(include={"context", "response", "edit"})
    assert "555" not in str(record.edit)
    assert record.user == "u@x.org"
    assert sum(document["replaced"].values()) == 3
    assert b"ann@example" not in Path(STORE).read_bytes()
    assert said("log.jsonl", "--redact")["known"] == 1


def test_standard_input_is_read_and_names_its_own_file() -> None:
    rows = b"".join(json.dumps(row(name)).encode() + b"\n" for name in "ab") + b"{\n"
    document = said("-", stdin=rows)
    assert (document["source"], document["added"]) == ("standard input", 2)
    assert document["rejected_file"] == "stdin.rejected.jsonl"
    assert said("-", "--store", "packed.db", stdin=gzip.compress(rows))["added"] == 2
    assert stored("packed.db") == stored()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["torn", "damaged"])
def test_a_packed_file_that_ends_early_is_one_line(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_rows, "IMPORT_BATCH_SIZE", 50)
    packed = gzip.compress(b"".join(json.dumps(row(os.urandom(20).hex())).encode() + b"\n" for _ in range(3000)))
    Path("log.jsonl.gz").write_bytes(packed[: len(packed) // 2] + (b"" if end == "torn" else b"\0" * 1000))
    assert error("log.jsonl.gz").startswith("log.jsonl.gz: ")
    there = len(stored())
    assert there > 500
    Path("log.jsonl.gz").write_bytes(packed)
    document = said("log.jsonl.gz")
    assert (document["known"], document["added"]) == (there, 3000 - there)


ASKED = [{"role": "user", "content": "Write to Ann."}]
ANSWER = {"role": "assistant", "content": "Dear Ann,"}


def of_the_product(*words: str) -> EditRecord:
    document = said(*words)
    assert (document["rows"], document["rejected"]) == (1, 0)
    (record,) = stored()
    assert (record.response, record.edit, record.user) == ("Dear Ann,", "Hi Ann,", "ann")
    assert [(one.role, one.content) for one in record.context][-1] == ("user", "Write to Ann.")  # type: ignore[union-attr]
    assert said(*words)["known"] == 1
    return record


def test_an_openai_log_and_its_edits() -> None:
    choices = [{"index": 0, "message": ANSWER, "finish_reason": "stop"}]
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
    write("log.jsonl", {"request": {"model": "m", "messages": ASKED}, "response": answer})
    write("edits.jsonl", {"id": "chatcmpl-1", "edit": "Hi Ann,", "user": "ann"})
    assert "--edits FILE" in error("log.jsonl", "--format", "openai")
    of_the_product("log.jsonl", "--format", "openai", "--edits", "edits.jsonl")


def test_an_export_of_langfuse_and_its_scores() -> None:
    write("traces.jsonl", {
        "id": "t1", "timestamp": "2026-01-31T12:00:00.000Z", "name": "a", "input": {"messages": ASKED},
        "output": "Dear Ann,", "userId": "ann", "metadata": {}, "tags": [], "release": None,
    })  # fmt: skip
    write("scores.jsonl", {
        "id": "s1", "traceId": "t1", "observationId": None, "name": "output", "dataType": "CORRECTION", "value": 0,
        "stringValue": "Hi Ann,", "timestamp": "2026-01-31T13:00:00.000Z", "source": "ANNOTATION",
    })  # fmt: skip
    of_the_product("traces.jsonl", "--format", "langfuse", "--edits", "scores.jsonl")


def test_inferences_of_tensorzero_and_their_demonstrations() -> None:
    first, later = "019c13ec-9e00-7000-8000-000000000000", "019c13ec-a1e8-7000-8000-000000000000"
    asked = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Write to Ann."}]}]}
    write("inferences.jsonl", {
        "id": first, "function_name": "write", "variant_name": "small", "episode_id": "e", "input": json.dumps(asked),
        "output": json.dumps([{"type": "text", "text": "Dear Ann,"}]), "tags": {"who": "ann"},
    })  # fmt: skip
    value = json.dumps([{"type": "text", "text": "Hi Ann,"}])
    write("feedback.jsonl", {"id": later, "inference_id": first, "value": value, "tags": {}})
    of_the_product("inferences.jsonl", "--format", "tensorzero", "--edits", "feedback.jsonl", "--user-tag", "who")


def test_a_git_history(folder: Path) -> None:
    def git(*words: str) -> None:
        names = {f"GIT_{role}_{what}": "ann" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        blank = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(["git", "-C", "repo", *words], check=True, capture_output=True, env=os.environ | names | blank)

    Path("repo").mkdir()
    git("init", "-q")
    for text, message in [
        ("a\nb\n", "start"),
        ("a\nmachine wrote\nb\n", "Draft\n\nAssisted-by: m"),
        ("a\nann wrote\nb\n", "mine"),
    ]:
        Path("repo/mail.txt").write_text(text)
        git("add", "mail.txt")
        git("commit", "-q", "-m", message)
    assert "--mark goes with --format git" in error("repo", "--mark", "x")
    document = said("repo", "--format", "git")
    assert document["added"] == 1
    (record,) = stored()
    assert "machine wrote" in record.response
    assert "ann wrote" in str(record.edit)
    assert record.user == "ann"
    assert said("repo", "--format", "git")["known"] == 1


def test_a_log_at_a_url_whose_rejected_rows_go_to_the_current_folder() -> None:
    rows = [json.dumps(row("a")).encode(), b"{", json.dumps(row("b")).encode()]
    with serve_files({"logs/log.jsonl.gz": gzip.compress(b"\n".join(rows) + b"\n")}, password="secret") as server:
        url = server.replace("http://", "http://ann:secret@") + "/logs/log.jsonl.gz?sig=secret"
        document = said(url)
        assert (document["added"], document["rejected"]) == (2, 1)
        assert document["source"] == server.replace("http://", "http://ann:***@") + "/logs/log.jsonl.gz?***"
        shown = run(url).output
    assert document["rejected_file"] == "log.jsonl.gz.rejected.jsonl"
    assert "1, in log.jsonl.gz.rejected.jsonl" in shown
    assert "secret" not in shown + json.dumps(document)
    assert [one["line"] for one in rejects("log.jsonl.gz.rejected.jsonl")] == [2]


def test_edits_at_a_url() -> None:
    choices = [{"index": 0, "message": ANSWER, "finish_reason": "stop"}]
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
    write("log.jsonl", {"request": {"model": "m", "messages": ASKED}, "response": answer})
    edits = json.dumps({"id": "chatcmpl-1", "edit": "Hi Ann,", "user": "ann"}).encode()
    with serve_files({"edits.jsonl": edits + b"\n"}) as server:
        of_the_product("log.jsonl", "--format", "openai", "--edits", f"{server}/edits.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["the file", "the connection"])
def test_a_download_that_ends_early_is_one_line_with_code_2(cut: str) -> None:
    data = gzip.compress(b"".join(json.dumps(row(os.urandom(20).hex())).encode() + b"\n" for _ in range(3000)))
    half = len(data) // 2
    files = {"log.jsonl.gz": data if cut == "the connection" else data[:half]}
    with serve_files(files, cut=half if cut == "the connection" else None) as server:
        command = [sys.executable, "-m", "copydesk", "import", f"{server}/log.jsonl.gz"]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 2
    assert done.stderr.startswith(f"copydesk: {server}/log.jsonl.gz: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["missing.jsonl"], "missing.jsonl: there is no such file"),
        (["empty.jsonl"], "empty.jsonl"),
        (["log.jsonl", "--max-text", "0"], "--max-text 0"),
        (["log.jsonl", "--split", "test", "--format", "csv"], "--split goes with --format dataset"),
        (["log.jsonl", "--edits", "log.jsonl"], "--edits goes with --format openai or langfuse or tensorzero"),
        (["log.jsonl", "--c-max", "0"], "cap is 0"),
        (["bad.jsonl"], "bad.jsonl:1: not JSON at column 2"),
    ],
)
def test_wrong_arguments(words: list[str], says: str) -> None:
    write("log.jsonl", row("a"))
    write("bad.jsonl", b"{1")
    write("empty.jsonl")
    assert says in error(*words)
    assert not list(Path().glob("*.rejected.jsonl"))


def test_a_log_whose_edit_cannot_be_guessed_asks_for_it() -> None:
    write("log.jsonl", {"context": "c", "response": "r", "made of it": "e"})
    assert "no key could be the edit; name it with --edit KEY (there are 'made of it')" in error("log.jsonl")
    assert not Path(STORE).exists()
    assert said("log.jsonl", "--edit", "none")["pending"] == 1
    assert said("log.jsonl", "--edit", "made of it")["added"] == 1
