import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
import typer
from tests.support.commands import document_of, error_of
from typer.testing import CliRunner, Result

from copydesk.cli.export import export_command
from copydesk.data import EditRecord, load_log, write_jsonl
from copydesk.data.importers.files import open_row_source
from copydesk.store import EditStore, tables
from copydesk.store.imports import ImportedRow, append_imported_rows, compute_content_digest


def record(id: str, edit: str | None, user: str, day: int, policy: str = "sft") -> EditRecord:
    at = datetime(2026, 1, day, tzinfo=UTC)
    return EditRecord(
        id=id, context="c [bold]", response="a b c d", edit=edit, user=user, policy=policy, created_at=at
    )  # fmt: skip


LOG = [
    record("accepted", "a b c d", "ann", 1),
    record("changed", "a b c x", "bob", 2, "dpo"),
    record("rewritten", "x y z u v w q", "ann", 3),
    record("waits", None, "ann", 4),
]
COSTS = {"accepted": 0.0, "changed": 0.25, "rewritten": 1.75}


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(export_command)
    return CliRunner().invoke(app, list(arguments))


def document(*arguments: str) -> dict[str, Any]:
    return document_of(run(*arguments, "--json"))


def error(*arguments: str) -> str:
    return error_of(run(*arguments))


@pytest.fixture
def filled(store_url: str) -> str:
    store = EditStore.open(store_url)
    with store.begin_write() as tx:
        for tenant, records in (("default", LOG), ("other", [record("theirs", "a b c y", "bob", 2)])):
            rows = [ImportedRow(one, compute_content_digest(one, tenant), COSTS.get(one.id, 0.25)) for one in records]
            append_imported_rows(tx, rows, "metric", tenant, since=0, at=0.0)
        tx.append(tables.memberships, tenant="other", user="bob", group="sales")
    store.close()
    return store_url


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "log.jsonl", LOG)
    return tmp_path / "log.jsonl"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("", ["accepted", "changed", "rewritten", "theirs"]),
        ("--pending", ["accepted", "changed", "rewritten", "waits", "theirs"]),
        ("--user bob", ["changed", "theirs"]),
        ("--tenant default --user bob", ["changed"]),
        ("--group sales", ["theirs"]),
        ("--policy dpo", ["changed"]),
        ("--since 2026-01-02 --until 2026-01-03", ["changed", "theirs"]),
        ("--at-least 0.25 --at-most 1", ["changed", "theirs"]),
    ],
)
def test_a_store_goes_out_as_it_is(filled: str, tmp_path: Path, options: str, found: list[str]) -> None:
    out = tmp_path / "out.jsonl"
    told = document("--store", filled, "--out", str(out), *options.split())
    assert [one.id for one in load_log(out)] == found
    assert [one for one in load_log(out) if one.id != "theirs"] == [one for one in LOG if one.id in found]
    assert (told["rows"], told["records"], told["format"], told["out"]) == (len(found), len(found), "jsonl", str(out))
    assert told["log"].startswith(("sqlite:///", "postgresql"))


def test_a_set_from_a_store(filled: str, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    told = document("--store", filled, "--format", "preference", "--form", "chat", "--out", str(out), "--user", "ann")
    assert (told["rows"], told["left_out"]) == (1, {"accepted, which is no preference": 1})
    (row,) = pq.read_table(out).to_pylist()
    assert row["chosen"] == [{"role": "assistant", "content": "x y z u v w q"}]


def test_the_ending_says_parquet(log: Path, tmp_path: Path) -> None:
    assert document("--data", str(log), "--pending", "--out", str(tmp_path / "out.parquet"))["format"] == "parquet"
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 4


@pytest.mark.parametrize(
    ("options", "found", "left_out"),
    [
        ("", ["accepted", "changed", "rewritten"], {"pending": 1}),
        ("--user bob --pending", ["changed"], {"another user": 3}),
        ("--since 2026-01-02 --until 2026-01-04", ["changed", "rewritten"], {"another time": 2}),
        ("--at-most 0", ["accepted"], {"pending": 1, "another cost": 2}),
    ],
)
def test_a_file_becomes_another(
    log: Path, tmp_path: Path, options: str, found: list[str], left_out: dict[str, int]
) -> None:
    out = tmp_path / "out.jsonl"
    told = document("--data", str(log), "--out", str(out), *options.split())
    assert load_log(out) == [one for one in LOG if one.id in found]
    assert told["left_out"] == left_out


def test_counts_are_shown(log: Path, tmp_path: Path) -> None:
    shown = run("--data", str(log), "--format", "kto", "--out", str(tmp_path / "kto.jsonl")).stdout
    assert [line.split() for line in shown.splitlines() if line.strip()][-3:] == [
        ["records", "3"], ["rows", "5"], ["left", "out", "1", "(pending)"],
    ]  # fmt: skip


def test_standard_output_holds_rows_alone(log: Path) -> None:
    result = run("--data", str(log), "--format", "prompt-completion", "--out", "-")
    assert [json.loads(line)["completion"] for line in result.stdout.splitlines()] == [
        one.edit for one in LOG if one.edit
    ]
    assert "prompt-completion" in result.stderr


def test_an_older_file_stays_without_force(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    assert "--force" in error("--data", str(log), "--out", str(out))
    assert out.read_text() == "before"
    document("--data", str(log), "--out", str(out), "--force")
    assert len(load_log(out)) == 3


def test_neither_the_log_nor_the_store_is_replaced(log: Path, tmp_path: Path) -> None:
    EditStore.open(str(tmp_path / "copydesk.db")).close()
    before = [path.read_bytes() for path in (log, tmp_path / "copydesk.db")]
    assert "is the log itself" in error("--data", str(log), "--out", str(log), "--force")
    store = str(tmp_path / "copydesk.db")
    assert "this is a database" in error("--store", store, "--out", store, "--force")
    assert [path.read_bytes() for path in (log, tmp_path / "copydesk.db")] == before


def test_a_bad_row_leaves_no_file(log: Path, tmp_path: Path) -> None:
    with log.open("a") as file:
        file.write('{"context": "c", "resp')
    assert f"{log}:5: the file ends in the middle" in error("--data", str(log), "--out", str(tmp_path / "out.jsonl"))
    assert list(tmp_path.iterdir()) == [log]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--data LOG --store s.db --out o.jsonl", "--store goes with a store, not with --data"),
        ("--data LOG --group g --out o.jsonl", "--group goes with a store"),
        ("--data LOG --tenant t --out o.jsonl", "--tenant goes with a store"),
        ("--data LOG --user nobody --out o.jsonl", "nothing to write (left out: 4 another user)"),
        ("--data LOG --until never --out o.jsonl", "--until never: write a date"),
        ("--data LOG --since never --out o.jsonl", "--since never: write a date"),
        ("--data LOG --format kto --pending --out o.jsonl", "--pending: a kto data set is made of edits"),
        ("--data LOG --form chat --out o.jsonl", "--form chat: a log has no forms"),
        ("--data LOG --format parquet --out o.jsonl", "the name of a Parquet file must end in .parquet"),
        ("--data LOG --out - --json", "--json and --out - both write"),
        ("--data missing.jsonl --out o.jsonl", "missing.jsonl: there is no such file"),
        ("--store missing.db --out o.jsonl", "missing.db"),
    ],
)
def test_wrong_arguments(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in error(*arguments.replace("LOG", str(log)).split())
    assert list(tmp_path.iterdir()) == [log]


@pytest.fixture
def memory() -> Iterator[Any]:
    file_system = fsspec.filesystem("memory")
    file_system.store.clear()
    yield file_system
    file_system.store.clear()


@pytest.mark.parametrize(
    "name", ["log.jsonl", "log.jsonl.gz", "log.jsonl.zst", "log.jsonl.bz2", "log.jsonl.xz", "log.parquet"]
)
def test_a_url_gets_the_whole_file_and_it_imports_again(log: Path, memory: Any, name: str) -> None:
    url = f"memory://exports/{name}"
    made = document("--data", str(log), "--pending", "--out", url)
    assert (made["out"], made["rows"]) == (url, 4)
    assert list(memory.store) == [f"/exports/{name}"]
    rows = [row.fields for row in open_row_source(url).rows()]
    assert [EditRecord.model_validate(row) for row in rows] == LOG
    assert "there is a file of that name already" in error("--data", str(log), "--out", url)
    assert document("--data", str(log), "--out", url, "--force")["rows"] == 3


def test_a_url_is_written_only_once_everything_is_right(log: Path, memory: Any) -> None:
    assert "nothing to write" in error("--data", str(log), "--user", "nobody", "--out", "memory://exports/log.jsonl")
    log.write_bytes(log.read_bytes() + b"{")
    assert "the file ends in the middle" in error("--data", str(log), "--out", "memory://exports/log.jsonl")
    memory.pipe_file("/exports/store", b"SQLite format 3\0 and so on")
    assert "this is a database" in error("--data", str(log), "--out", "memory://exports/store", "--force")
    assert list(memory.store) == ["/exports/store"]


def test_an_upload_that_fails_is_one_line_and_shows_no_password(
    log: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(memory), "put_file", fail)
    failed = error("--data", str(log), "--out", "memory://ann:secret@exports/log.jsonl")
    assert failed.startswith("memory://ann:***@exports/log.jsonl: the upload failed (Permission denied)")
    assert not memory.store
    reason = error("--data", str(log), "--out", "https://ann:secret@host/log.jsonl")
    assert reason.startswith("https://ann:***@host/log.jsonl: https:// can only be read")
