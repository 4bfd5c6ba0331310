"""The store's files belong to their owner alone, and one bad entry of a batch does not fail the others."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.support.gateways import Scripted, ask

from copydesk.data.importers.base import SourceRow
from copydesk.errors import InputError
from copydesk.gateway.log_writer import LogWriter, StoreUnavailable
from copydesk.store import EditStore, find_completion, write
from copydesk.store.import_rows import open_rejected_rows
from copydesk.store.write import StoredCompletion


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_files_of_a_new_store_are_for_their_owner_alone(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        store = EditStore.open(str(tmp_path / "copydesk.db"))
        with store.begin_write() as tx:
            write.append_config(tx, {}, at=1.0)
        store.checkpoint()
        files = list(tmp_path.iterdir())
        assert {file.name for file in files} == {"copydesk.db", "copydesk.db-wal", "copydesk.db-shm"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert store.find_exposed_files() == []
        (tmp_path / "copydesk.db").chmod(0o644)
        assert store.find_exposed_files() == [tmp_path / "copydesk.db"]
        store.vacuum()
        store.close()
    finally:
        os.umask(before)


def test_rejected_rows_are_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "log.rejected.jsonl"
    with open_rejected_rows(file, "line") as rejected:
        rejected.add(SourceRow(1, {"response": "private"}), "no context")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_url_of_sqlite_takes_a_timeout_and_nothing_else(tmp_path: Path) -> None:
    EditStore.open(f"sqlite:///{tmp_path}/copydesk.db?timeout=0.5").close()
    for query in ("timeout=many", "timeout=-1", "mode=ro", "timeout=1&vfs=x"):
        with pytest.raises(InputError, match="takes only"):
            EditStore.open(f"sqlite:///{tmp_path}/copydesk.db?{query}")


def complete(name: str, response: str) -> Any:
    fields = ("default", None, "a", "a", 1.0, None, [{"role": "user", "content": "hi"}], {}, response, "stop", None)
    return lambda tx, ledger: write.append_completion(tx, StoredCompletion(name, 1.0, *fields))


def test_one_bad_entry_of_a_batch_does_not_fail_the_others(store_url: str) -> None:
    store = EditStore.open(store_url)

    def append_half(tx: Any, ledger: Any) -> None:
        complete("half", "half")(tx, ledger)
        raise RuntimeError("after half of it")

    async def write_all() -> list[Any]:
        log = LogWriter(store)
        commands = [complete(f"c{i}", "\ud800" if i == 3 else f"{i}") for i in range(8)] + [append_half]
        results = await asyncio.gather(*(log.write(one) for one in commands), return_exceptions=True)
        await asyncio.to_thread(log.close)
        return results

    results = asyncio.run(write_all())
    assert [i for i, result in enumerate(results) if result is not None] == [3, 8]
    assert isinstance(results[8], RuntimeError)
    with store.begin_read() as connection:
        found = [find_completion(connection, f"c{i}") is not None for i in range(8)]
        assert find_completion(connection, "half") is None
    assert found == [True] * 3 + [False] + [True] * 4
    store.close()


def test_while_the_store_is_locked_every_command_fails_and_none_is_stored(tmp_path: Path) -> None:
    file = f"sqlite:///{tmp_path}/copydesk.db?timeout=0.1"
    store, other = EditStore.open(file), EditStore.open(file)

    async def write_all() -> list[Any]:
        log = LogWriter(store)
        with other.begin_write():
            writing = [log.write(complete(f"c{i}", "x")) for i in range(3)]
            results = await asyncio.gather(*writing, return_exceptions=True)
        await log.write(complete("later", "x"))
        await asyncio.to_thread(log.close)
        return results

    results = asyncio.run(write_all())
    assert all(isinstance(result, StoreUnavailable) and "holds its lock" in str(result) for result in results)
    with store.begin_read() as connection:
        assert find_completion(connection, "c0") is None
        assert find_completion(connection, "later") is not None


def test_a_store_that_cannot_be_read_is_a_503_that_names_no_file(serve: Any, store: EditStore) -> None:
    client = serve(Scripted("a"))
    name = ask(client).json()["id"]
    assert client.post("/v1/edits", json={"completion_id": name, "edit": "x"}).status_code == 200
    with store.begin_write() as tx:
        tx.connection.execute(text("UPDATE completions SET context = '{broken'"))
    for path in ("/edits", f"/edits/{name}"):
        reply = client.get(path)
        assert reply.status_code == 503
        assert "copydesk.db" not in reply.text
