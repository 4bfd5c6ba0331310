"""Every command on a store that is damaged, foreign, locked, full or gone: one line, and nothing half-written."""

import os
import resource
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import inspect
from tests.support.databases import new_database
from typer.testing import CliRunner

from copydesk.cli.app import app
from copydesk.data.cost import EditCost
from copydesk.data.record import EditRecord
from copydesk.ensemble.config import EnsembleConfig
from copydesk.errors import InputError
from copydesk.store import EditStore, write
from copydesk.store.api_keys import create_key, list_keys
from copydesk.store.errors import StoreError
from copydesk.store.imports import ImportedRow, append_imported_rows, compute_content_digest
from copydesk.store.users import assign_group
from copydesk.store.write import StoredCompletion

READS = {
    "users": ["users"],
    "keys list": ["keys", "list"],
    "verify": ["ensemble", "verify"],
    "check": ["forget", "--check"],
    "check of a user": ["forget", "--user", "ann", "--check"],
    "dry run": ["forget", "--user", "ann", "--dry-run"],
    "export": ["export", "--out", "out.jsonl", "--pending"],
    "export to stdout": ["export", "--out", "-"],
    "diagnose": ["diagnose"],
    "evaluate": ["evaluate", "--policy", "a"],
    "train": ["train", "--model", "missing", "--out", "policy"],
}
WRITES = {
    "group": ["users", "group", "sales", "ann"],
    "keys create": ["keys", "create", "--name", "app"],
    "keys revoke": ["keys", "revoke", "KEY"],
    "forget": ["forget", "--user", "ann", "--yes"],
    "import": ["import", "log.jsonl"],
    "serve": ["serve", "--port", "0"],
}
COMMANDS = READS | WRITES
METRIC = EditCost(unit="word")
ROW = '{"context": "c", "response": "r", "edit": "e"}\n'


def fill(url: str) -> str:
    """A store with rows of every kind; gives the id of its key."""
    store = EditStore.open(url)
    with store.begin_write() as tx:
        write.append_config(tx, EnsembleConfig(metric=METRIC.name, cost=asdict(METRIC)).to_json(), at=1.0)
        write.append_arm_change(tx, "a", "add", "embedded", at=2.0)
        assign_group(tx, "team", ["ann"], "default", at=2.5)
        for i in range(1, 41):
            user, name = ("ann", "bob")[i % 2], f"c{i}"
            write.append_pull(
                tx, name, at=i, round=i, arm="a", propensity=1.0, scope=f"default/{user}", turn=1, without=["b"]
            )
            messages = [{"role": "user", "content": f"{i} " * 300}]
            fields = ("default", user, "copydesk", "a", 1.0, i, messages, {}, "yes", "stop", {"prompt_tokens": 1})
            write.append_completion(tx, StoredCompletion(name, float(i), *fields))
            write.append_edit(tx, f"e{i}", name, "no", 0.5, METRIC.name, at=100.0 + i)
        record = EditRecord(id="old", context="c", response="r", edit="e", metadata={"x": 1})
        rows = [ImportedRow(record, compute_content_digest(record, "default"), 0.5)]
        append_imported_rows(tx, rows, METRIC.name, "default", since=0, at=0.0)
        key, _ = create_key(tx.connection, "first")
    store.close()
    return key.id


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    file = tmp_path_factory.mktemp("template") / "copydesk.db"
    return file, fill(str(file))


@pytest.fixture
def store(template: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the store in the working folder, with a log beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(COMMANDS, "keys revoke", ["keys", "revoke", template[1]])
    Path("log.jsonl").write_text(ROW)
    shutil.copyfile(template[0], "copydesk.db")
    return tmp_path / "copydesk.db"


def run(name: str, url: str = "copydesk.db") -> str | None:
    """The error of a command, which is one line; `None` if it succeeded. A failure leaves no file behind."""
    before = list_files()
    result = CliRunner().invoke(app, [*COMMANDS[name], "--store", url])
    if result.exception is None:
        return None
    assert isinstance(result.exception, InputError), (name, result.exception)
    assert "\n" not in str(result.exception), name
    assert list_files() == before, name
    return str(result.exception)


def list_files() -> list[str]:
    return sorted(str(file) for file in Path().rglob("*") if not file.name.endswith(("-wal", "-shm")))


def write_garbage(store: Path) -> None:
    store.write_bytes(bytes(range(256)) * 100)


def truncate(store: Path) -> None:
    store.write_bytes(store.read_bytes()[:8000])


def make_foreign(store: Path) -> None:
    store.unlink()
    with sqlite3.connect(store) as other:
        other.execute("CREATE TABLE photos (id INTEGER)")
    other.close()


def make_foreign_with_alembic(store: Path) -> None:
    make_foreign(store)
    with sqlite3.connect(store) as other:
        other.execute("CREATE TABLE alembic_version (version_num TEXT)")
        other.execute("INSERT INTO alembic_version VALUES ('0004')")
    other.close()


def make_folder(store: Path) -> None:
    store.unlink()
    store.mkdir()


DAMAGES: dict[Callable[[Path], None], str] = {
    write_garbage: "not a database",
    truncate: "damaged",
    make_foreign: "belongs to another application",
    make_foreign_with_alembic: "belongs to another application",
    make_folder: "this is a folder",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_is_no_store_is_refused_in_one_line_and_left_as_it_is(
    damage: Callable[[Path], None], name: str, store: Path
) -> None:
    damage(store)
    before = store.read_bytes() if store.is_file() else b""
    message = run(name)
    assert message is not None and DAMAGES[damage] in message
    assert (store.read_bytes() if store.is_file() else b"") == before


@pytest.mark.parametrize("name", READS)
def test_an_empty_file_holds_no_store_to_read(name: str, store: Path) -> None:
    store.write_bytes(b"")
    assert "it holds no store yet" in str(run(name))
    assert store.read_bytes() == b""


@pytest.mark.parametrize("name", READS)
def test_any_damaged_page_is_one_line(name: str, store: Path) -> None:
    """Commands that do not read the page work."""
    whole, found = store.read_bytes(), set()
    for page in range(1, len(whole) // 4096, 1 if name in ("users", "export") else 4):
        store.write_bytes(whole[: page * 4096] + b"\x07" * 4096 + whole[(page + 1) * 4096 :])
        found.add(run(name) is None)
        for left in ("out.jsonl", "policy"):
            Path(left).unlink(missing_ok=True)
    assert False in found


def list_columns() -> list[tuple[str, str]]:
    from copydesk.store.tables import metadata

    return [(table.name, column.name) for table in metadata.sorted_tables for column in table.columns]


@pytest.mark.slow
@pytest.mark.parametrize("value", ["x'ff00'", "'[1]'", "1e300"])
def test_any_damaged_column_is_one_line(value: str, store: Path, template: tuple[Path, str]) -> None:
    """Where the value may stand in the column, or is not read, the command works."""
    refused = 0
    for table, column in list_columns():
        shutil.copyfile(template[0], store)
        with sqlite3.connect(store) as connection:
            try:
                connection.execute(
                    f'UPDATE {table} SET "{column}" = {value} WHERE rowid = (SELECT max(rowid) FROM {table})'
                )
            except sqlite3.IntegrityError:
                continue
        connection.close()
        for name in ("users", "verify", "export"):
            refused += run(name) is not None
            Path("out.jsonl").unlink(missing_ok=True)
    assert refused > 10


@pytest.mark.parametrize("name", READS)
def test_commands_that_read_need_no_lock(name: str, store: Path) -> None:
    expected = run(name)
    for left in ("out.jsonl", "policy"):
        Path(left).unlink(missing_ok=True)
    with sqlite3.connect(store, isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert run(name, f"sqlite:///{store}?timeout=0") in (expected, str(expected).replace("copydesk.db", str(store)))
    holder.close()
    assert expected is None or "lock" not in expected


@pytest.mark.parametrize("name", WRITES)
def test_a_held_lock_is_one_line(name: str, store: Path) -> None:
    before = store.read_bytes()
    with sqlite3.connect(store, isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert "another process holds its lock" in str(run(name, f"sqlite:///{store}?timeout=0.1"))
    holder.close()
    assert store.read_bytes() == before


@contextmanager
def limit_files(size: int) -> Iterator[None]:
    """No file can grow beyond this size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_takes_no_more_is_one_line(name: str, store: Path) -> None:
    with limit_files(1000):
        message = run(name)
    assert name not in WRITES or "it cannot be read or written" in str(message)
    with sqlite3.connect(store) as whole:
        assert whole.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    whole.close()


@pytest.mark.parametrize("name", ["keys create", "import", "serve"])
def test_no_new_store_is_left_on_a_full_disk(name: str, store: Path) -> None:
    with limit_files(20_000):
        assert "free some space" in str(run(name, "new.db"))
    assert not list(Path().glob("new.db*"))


def test_a_full_disk_is_named(store: Path) -> None:
    Path("disk").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "disk"], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        shutil.copyfile(store, "disk/copydesk.db")
        with Path("disk/filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        for name in ("keys create", "import", "group"):
            message = str(run(name, "disk/copydesk.db"))
            assert "the disk is full" in message or "cannot be read or written" in message
        Path("disk/filler").unlink()
        assert run("keys create", "disk/copydesk.db") is None
    finally:
        subprocess.run(["umount", "disk"], check=True)


@contextmanager
def without_permissions() -> Iterator[None]:
    """Work as a user whom permissions bind, if this is root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o444, 0o555), (0o666, 0o555), (0o000, 0o777)])
def test_what_cannot_be_written_or_read_is_one_line(
    file_mode: int, folder_mode: int, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        shutil.copyfile(store, folder / "copydesk.db")
        (folder / "log.jsonl").write_text(ROW)
        (folder / "copydesk.db").chmod(file_mode)
        folder.chmod(folder_mode)
        monkeypatch.chdir(folder)
        with without_permissions():
            for name in ("users", "keys list", "check", "export to stdout"):
                run(name)
            for name in ("group", "keys create", "keys revoke", "forget"):
                message = str(run(name))
                assert "check the permissions" in message, (name, message)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_server_that_is_gone_is_one_line_without_the_password(name: str, store: Path) -> None:
    message = str(run(name, "postgresql://someone:secret@127.0.0.1:1/db"))
    assert "the database server cannot be reached" in message
    assert "secret" not in message


def test_a_connection_that_breaks_is_one_line(postgres: str) -> None:
    url = new_database(postgres)
    store = EditStore.open(url)

    name = url.partition("?")[0].rpartition("/")[2]

    def break_connections() -> None:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        with psycopg.connect(postgres, autocommit=True) as other:
            other.execute(query, [name])

    with pytest.raises(StoreError, match="cannot be reached") as caught, store.begin_read() as connection:
        break_connections()
        inspect(connection).get_table_names()
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="cannot be reached"), store.begin_write() as tx:
        break_connections()
        create_key(tx.connection, "lost")
    with store.begin_read() as connection:  # the next transaction has a connection of its own
        assert list_keys(connection) == []
    store.close()
