"""An import or a forgetting that is killed and run again ends as one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select, text
from tests.support.databases import new_database

from copydesk.data import EditRecord
from copydesk.data.cost import EditCost
from copydesk.data.exporters import export_records
from copydesk.errors import InputError
from copydesk.store import EditStore, read_edits, tables
from copydesk.store.imports import ImportedRow, append_imported_rows, compute_content_digest
from copydesk.training.forget import check_forgotten, forget_person

pytestmark = pytest.mark.kill

# -- import ------------------------------------------------------------------------------------------------------------

IMPORT = """
import sys, time
from copydesk.data.cost import EditCost
from copydesk.data.importers.files import open_row_source
from copydesk.data.mapping import IDENTITY_MAPPING
from copydesk.store import EditStore, import_rows
import_rows.IMPORT_BATCH_SIZE = 20
source, store = open_row_source(sys.argv[1]), EditStore.open(sys.argv[2])
with import_rows.open_rejected_rows(source.rejected_path, source.unit) as bad:
    import_rows.import_rows(
        source, source.rows(), import_rows.RowParser(IDENTITY_MAPPING, "default"), store, EditCost(unit="word"), bad,
        progress=lambda rows: time.sleep(0.005),
    )
store.close()
"""
ROWS = 1500


def write_log(file: Path) -> None:
    """Rows of every kind: with and without an edit, edited again, repeated, with a clash of ids, bad."""
    rng = random.Random(7)
    lines = []
    for number in range(ROWS):
        row = {"id": str(number), "context": "c", "response": f"to {number}", "edit": f"for {number}", "user": "ann"}
        match number % 10:
            case 3:
                del row["edit"], row["user"]
            case 5:  # what had no edit two rows before
                row |= {"id": str(number - 2), "response": f"to {number - 2}"}
            case 6:
                row |= {"response": "to 0", "edit": "for 0"}
            case 7:
                row |= {"id": str(rng.randrange(number)), "response": "another"}
            case 8:
                row = {"context": "no response"}
        lines.append(json.dumps(row) + "\n")
    file.write_text("".join(lines))


def contents(store: EditStore) -> dict[str, list[tuple]]:
    """Every row of every table, without the moments at which rows came that do not say it themselves."""
    found = {}
    with store.begin_read() as connection:
        for name in inspect(connection).get_table_names():
            rows = connection.execute(text(f"SELECT * FROM {name} ORDER BY 1")).mappings()
            found[name] = [tuple(value for key, value in row.items() if key != "at") for row in rows]
    return found


def count(store: EditStore) -> int:
    with store.begin_read() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.completions)).scalar_one())


def ended(log: Path, url: str, folder: Path) -> tuple[dict[str, list[tuple]], bytes, str]:
    """What an import leaves: the store, an export of it, the rejected rows; and no other file."""
    store = EditStore.open(url)
    found = contents(store)
    with store.begin_read() as connection:
        records = (one.record for one in read_edits(connection, pending=True))
        export_records(records, folder / "out.jsonl", "jsonl", overwrite=True)
    store.close()
    assert not list(log.parent.glob(".copydesk-*"))
    return found, (folder / "out.jsonl").read_bytes(), log.with_name("log.jsonl.rejected.jsonl").read_text()


def begin(script: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *words], env=os.environ | {"OMP_NUM_THREADS": "1"})


def kill_when(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    """Kill it once that is so; it must not have ended by itself."""
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "it never came that far"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[tuple]], bytes, str]:
    folder = tmp_path_factory.mktemp("unbroken")
    write_log(folder / "log.jsonl")
    url = str(folder / "copydesk.db")
    assert begin(IMPORT, str(folder / "log.jsonl"), url).wait() == 0
    return ended(folder / "log.jsonl", url, folder)


def test_it_is_a_log_of_everything(unbroken: tuple[dict[str, list[tuple]], bytes, str]) -> None:
    found, exported, rejects = unbroken
    assert len(found["completions"]) == exported.count(b"\n") > ROWS // 2
    reasons = [json.loads(line)["reason"][:10] for line in rejects.splitlines()]
    assert reasons.count("field 'res") == ROWS // 10
    assert reasons.count("field 'id'") > ROWS // 20


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_import_that_is_killed_again_and_again_ends_as_one_that_is_not(
    kind: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    unbroken: tuple[dict[str, list[tuple]], bytes, str],
) -> None:
    url = str(tmp_path / "copydesk.db") if kind == "sqlite" else new_database(request.getfixturevalue("postgres"))
    log = tmp_path / "log.jsonl"
    write_log(log)
    rng = random.Random(kind)
    store = EditStore.open(url)
    for _ in range(3 if kind == "sqlite" else 1):
        there, more = count(store), rng.randrange(1, ROWS // 6)
        kill_when(begin(IMPORT, str(log), url), lambda: count(store) >= there + more)  # noqa: B023
        assert not log.with_name("log.jsonl.rejected.jsonl").exists()
        assert there < count(store) < len(unbroken[0]["completions"])
    store.close()
    assert begin(IMPORT, str(log), url).wait() == 0
    assert ended(log, url, tmp_path) == unbroken


# -- forget ------------------------------------------------------------------------------------------------------------

MARK = "zyzzyva"

FORGET = f"""
import sys, time
from pathlib import Path
from copydesk.training import forget
from copydesk.store import EditStore, store
def stop(*_):
    Path(sys.argv[2]).touch()
    time.sleep(600)
opened = EditStore.open(sys.argv[1])
match sys.argv[3]:
    case "before":
        forget.clear_reference_cache = stop
    case "within":
        erase = forget.erase_user
        forget.erase_user = lambda *words: (erase(*words), stop())
    case "after":
        store.vacuum_database = stop
    case "rewriting":
        vacuum = store.vacuum_database
        store.vacuum_database = lambda engine: (Path(sys.argv[2]).touch(), vacuum(engine), time.sleep(600))
forget.forget_person(opened, "{MARK}")
"""


def fill(url: str) -> None:
    """Rows of three people, some of them long, so that rewriting the file takes its time."""
    records = [
        EditRecord(id=str(i), context="c " * 2000, response=f"{user} wrote {i}", edit=f"{user} edits {i}", user=user)
        for i in range(900)
        for user in [("bob", MARK, "cy")[i % 3]]
    ]
    metric = EditCost(unit="word")
    store = EditStore.open(url)
    with store.begin_write() as tx:
        rows = [ImportedRow(one, compute_content_digest(one, "default"), metric.cost_of(one)) for one in records]
        append_imported_rows(tx, rows, metric.name, "default", since=0, at=0.0)
    store.close()


def of_others(store: EditStore) -> list[tuple]:
    with store.begin_read() as connection:
        return [(one.record, one.cost) for one in read_edits(connection, pending=True) if one.record.user != MARK]


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        ("sqlite", "before"),
        ("sqlite", "within"),
        ("sqlite", "after"),
        ("sqlite", "rewriting"),
        ("postgresql", "within"),
        ("postgresql", "rewriting"),
    ],
)
def test_a_forgetting_that_is_killed_is_done_by_the_next(
    kind: str, moment: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "copydesk.db") if kind == "sqlite" else new_database(request.getfixturevalue("postgres"))
    fill(url)
    store = EditStore.open(url)
    before, reached = of_others(store), tmp_path / "reached"
    assert len(before) == 600
    store.close()
    kill_when(begin(FORGET, url, str(reached), moment), reached.exists)
    store = EditStore.open(url)
    assert of_others(store) == before
    committed = moment in ("after", "rewriting")
    if not committed:
        with pytest.raises(InputError, match=r"holds 300 completions, 300 edits"):
            check_forgotten(store, MARK)
    done = forget_person(store, MARK)
    assert done.erased == ({} if committed else {"completions": 300, "edits": 300})
    total, (entry,) = check_forgotten(store, MARK)
    assert (total, entry.erased) == (1, {"completions": 300, "edits": 300})
    assert of_others(store) == before
    assert MARK not in str(contents(store))
    if kind == "sqlite":
        files = [file for file in tmp_path.iterdir() if file.name.startswith("copydesk.db")]
        assert not any(MARK.encode() in file.read_bytes() for file in files)
    store.close()
