"""Rows become records of the store, in batches and in their order; what is bad goes to a file."""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from copydesk.data.cost import EditCost
from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.mapping import IDENTITY_MAPPING
from copydesk.data.record import EditRecord
from copydesk.errors import InputError, Interrupted
from copydesk.store import EditStore, read_edits, tables
from copydesk.store import import_rows as intake
from copydesk.store.import_rows import ImportResult, RowParser, import_rows, open_rejected_rows

METRIC = EditCost(unit="word", normalize="none")
BATCH = 4


class Importing:
    """Imports rows into a store of its own, in small batches."""

    def __init__(self, store: EditStore, folder: Path) -> None:
        self.store = store
        self.file = folder / "log.jsonl.rejected.jsonl"

    def __call__(self, rows: Iterable[SourceRow | dict[str, Any]], **more: Any) -> ImportResult:
        places = (
            one if isinstance(one, SourceRow) else SourceRow(place, one) for place, one in enumerate(rows, start=1)
        )
        source = ImportSource("log.jsonl", lambda: iter(()), "line", self.file)
        reading = RowParser(
            IDENTITY_MAPPING, "default", **{name: more.pop(name) for name in ("max_text",) if name in more}
        )
        with open_rejected_rows(source.rejected_path, source.unit) as bad:
            return import_rows(source, places, reading, self.store, METRIC, bad, **more)

    def records(self) -> list[EditRecord]:
        with self.store.begin_read() as connection:
            return [found.record for found in read_edits(connection, pending=True)]

    def ids(self) -> list[str]:
        return [record.id for record in self.records()]

    def rejects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Importing]:
    monkeypatch.setattr(intake, "IMPORT_BATCH_SIZE", BATCH)
    store = EditStore.open(str(tmp_path / "copydesk.db"))
    yield Importing(store, tmp_path)
    store.close()


def row(name: str | int, **fields: Any) -> dict[str, Any]:
    return {"id": str(name), "context": "c", "response": f"to {name}", "edit": f"for {name}", **fields}


def test_rows_keep_their_order_and_get_their_costs_over_many_batches(importing: Importing) -> None:
    # The costs take longer for the first batch than for the last, and every third row is bad.
    rows: list[SourceRow | dict[str, Any]] = [row(i, edit="x " * (30 - i)) for i in range(30)]
    rows[::3] = [SourceRow(place, error="no JSON") for place in range(1, 31, 3)]
    done = importing(rows)
    assert (done.rows, done.added, done.rejected) == (30, 20, 10)
    assert importing.ids() == [str(i) for i in range(30) if i % 3]
    with importing.store.begin_read() as connection:
        found = [(one.record, one.cost) for one in read_edits(connection)]
    assert found == [(record, METRIC.cost_of(record)) for record, _ in found]
    assert [one["line"] for one in importing.rejects()] == list(range(1, 31, 3))


def test_counts_tell_what_was_there_from_what_comes_twice(importing: Importing) -> None:
    importing([row(0), row(1), row(2, edit=None)])
    result = importing([row(0), row("x", response="to 1", edit="for 1"), row(2), row(3), row(3), row(4, edit=None)])
    counts = result.to_json()
    assert counts.pop("seconds") >= 0
    assert counts == {
        "rows": 6, "added": 2, "updated": 1, "known": 2, "repeated": 1, "rejected": 0, "pending": 1, "replaced": {},
    }  # fmt: skip
    assert importing.ids() == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("batch", [1, 100])
def test_what_a_revision_says_is_not_stored_again_under_another_id(
    importing: Importing, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(intake, "IMPORT_BATCH_SIZE", batch)
    said = {"response": "r", "edit": "e"}
    rows = [row("a", response="r", edit=None), row("a", **said), row("b", **said)]
    result = importing(rows)
    assert (result.added, result.updated, result.repeated) == (1, 1, 1)
    assert importing(rows).known == 3
    assert importing.records() == [EditRecord(id="a", context="c", response="r", edit="e")]


def test_no_file_of_rejected_rows_stays_when_they_were_mended(importing: Importing) -> None:
    importing([row(0), {"context": "c"}])
    assert importing.rejects() == [
        {
            "line": 2,
            "reason": "field 'response' is missing; every row needs context and response",
            "row": {"context": "c"},
        }
    ]
    importing([row(0), row(1)])
    assert not importing.file.exists()


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(1, metadata={"k": float("nan")}), "not JSON compliant"),
        (row(1, response="\ud83d"), "surrogates"),
        (row("\udcff"), "surrogates"),
        (row(1, edit="a\x00"), "field 'edit' holds a NUL character"),
        (row("\x00"), "field 'id' holds a NUL character"),
        (row(1, context="x" * 21), "field 'context' has 21 characters; at most 20 are taken"),
        (row(1, context=[{"role": "u", "content": "x" * 11}] * 2), "field 'context' has 22 characters"),
        (row(1, edit="x" * 21), "field 'edit' has 21 characters"),
        (row(1, id="é" * 1001), "field 'id' has 2002 bytes; at most 2000"),
        (row(1, user="x" * 2001), "field 'user' has 2001 bytes"),
        (row(1, created_at="0001-01-01T00:00:00+05:00"), "field 'created_at' is not in the years 1 to 9999"),
        (row(1, metadata={"k": deep(300)}), "nested too deeply"),
        (row(0, response="another"), "field 'id': '0' is already in the store with other texts or another user; give"),
    ],
)
def test_what_no_store_can_hold_is_rejected_and_the_rest_goes_in(
    importing: Importing, bad: dict[str, Any], reason: str
) -> None:
    done = importing([row(0), bad, row(2)], max_text=20)
    assert (done.added, done.rejected) == (2, 1)
    assert importing.ids() == ["0", "2"]
    (reject,) = importing.rejects()
    assert reason in reject["reason"]
    assert reject["line"] == 2
    assert reject["row"] == bad or reason == "not JSON compliant"


def test_names_of_the_longest_kind_go_into_any_store(store_url: str, tmp_path: Path) -> None:
    store = EditStore.open(store_url)
    name = "".join(chr(0x4E00 + 37 * i % 20_000) for i in range(666))  # hard to compress, which indexes try
    assert Importing(store, tmp_path)([row(name, user=name, policy=name)]).added == 1
    store.close()


def test_rows_of_any_depth_are_taken_or_rejected(importing: Importing) -> None:
    """Neither reading, nor storing, nor the file of rejected rows may fail on the way."""
    rows = [row(levels, metadata={"k": deep(levels)}) for levels in (10, 190, *range(700, 1100, 10))]
    done = importing(rows)
    assert (done.added, done.rejected) == (2, 40)
    places = [one["line"] for one in importing.rejects()]
    assert places == list(range(3, 43))


def test_memory_holds_a_few_batches(importing: Importing) -> None:
    read, most = 0, 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal read
        for read in range(1, 101):
            yield row(read)

    def progress(stored: int) -> None:
        nonlocal most
        most = max(most, read - stored)
        time.sleep(0.001)  # who reads ahead without end would be far ahead by now

    assert importing(rows(), progress=progress).added == 100
    assert 0 < most <= 4 * BATCH


def test_a_source_that_ends_in_an_error_leaves_what_came_before(importing: Importing) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from (row(i) for i in range(5 * BATCH))
        raise InputError("log.jsonl: the file ends early; copy it again in full")

    with pytest.raises(InputError, match=r"^log\.jsonl: the file ends early; copy it again in full$"):
        importing(rows())
    stored = importing.ids()
    assert stored == [str(i) for i in range(len(stored))]
    assert len(stored) >= 2 * BATCH
    assert [path.name for path in importing.file.parent.iterdir() if path.suffix in (".tmp", ".jsonl")] == []
    done = importing([row(i) for i in range(5 * BATCH)])
    assert (done.known, done.added) == (len(stored), 5 * BATCH - len(stored))


@pytest.mark.parametrize("end", [KeyboardInterrupt(), Interrupted(15)])
def test_an_interruption_leaves_whole_batches_and_nothing_else(importing: Importing, end: BaseException) -> None:
    importing.file.write_text("of an earlier import\n")
    threads = threading.active_count()

    def progress(rows: int) -> None:
        if rows == 3 * BATCH:
            raise end

    with pytest.raises(type(end)):
        importing([row(i) for i in range(20 * BATCH)], progress=progress)
    stored = importing.ids()
    assert stored == [str(i) for i in range(len(stored))]
    assert len(stored) % BATCH == 0
    assert 3 * BATCH <= len(stored) < 20 * BATCH
    assert importing.file.read_text() == "of an earlier import\n"
    assert not list(importing.file.parent.glob(".copydesk-*"))
    assert threading.active_count() <= threads


def strict_error(importing: Importing, rows: list[Any]) -> str:
    with pytest.raises(InputError) as error:
        importing(rows, strict=True)
    assert "\n" not in str(error.value)
    assert not importing.file.exists()
    return str(error.value)


@pytest.mark.parametrize("bad", [0, 3, 4, 5, 22])
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"context": "c", "id": "bad"}, "field 'response' is missing"),
        (row("first", response="x"), "field 'id': 'first'"),
    ],
)
def test_strict_ends_at_the_first_bad_row_and_goes_on_when_it_is_mended(
    importing: Importing, tmp_path: Path, bad: int, wrong: dict[str, Any], reason: str
) -> None:
    importing([row("first")])
    rows = [row(i) for i in range(30)]
    faulty = [*rows[:bad], wrong, *rows[bad + 1 :]]
    error = strict_error(importing, faulty)
    assert error.startswith(f"log.jsonl:{bad + 1}: {reason}")
    assert f"({bad} rows are stored and will not be stored twice" in error
    assert importing.ids() == ["first", *(str(i) for i in range(bad))]
    done = importing(rows, strict=True)
    assert (done.known, done.added) == (bad, 30 - bad)
    assert importing.ids() == ["first", *(str(i) for i in range(30))]


def test_strict_knows_a_bad_row_after_many_that_are_there(importing: Importing) -> None:
    rows = [row(i) for i in range(10)]
    importing(rows)
    assert "log.jsonl:11: no JSON (0 rows are stored" in strict_error(
        importing, [*rows, SourceRow(11, error="no JSON")]
    )


def test_rows_that_do_not_say_when_came_when_the_import_began(importing: Importing) -> None:
    before = time.time()
    importing([row(i) for i in range(2 * BATCH)] + [row("old", created_at="2026-01-02T00:00:00Z")])
    with importing.store.begin_read() as connection:
        moments = connection.execute(select(tables.completions.c.at).order_by(tables.completions.c.seq)).scalars().all()
    assert len(set(moments[:-1])) == 1
    assert before <= moments[0] <= time.time()
    assert moments[-1] == 1767312000.0
