import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from copydesk.data.importers.base import ImportSource, RowIndex, SourceRow
from copydesk.errors import InputError


def source(*given: Mapping[str, Any]) -> ImportSource:
    def rows() -> Iterator[SourceRow]:
        yield from (SourceRow(place, row) for place, row in enumerate(given, start=1))

    return ImportSource("edits.jsonl", rows, "line", Path("edits.jsonl.rejected.jsonl"))


def by_id(fields: Mapping[str, Any]) -> tuple[str, float, Any]:
    return str(fields["id"]), 0.0, fields["edit"]


def test_the_index_is_on_disk() -> None:
    with RowIndex(source()) as lookup:
        databases = lookup._rows.execute("PRAGMA database_list").fetchall()
        assert [path for _, _, path in databases] == [""]
        assert lookup._rows.execute("PRAGMA cache_size").fetchone()[0] == -2000


FULL = r"^edits.jsonl: its rows cannot be kept .*\(database or disk is full\); free some space.* SQLITE_TMPDIR$"


def test_a_full_temporary_disk_is_named() -> None:
    with RowIndex(source(*({"id": number, "edit": "x" * 1000} for number in range(100)))) as lookup:
        lookup._rows.execute("PRAGMA max_page_count = 20")
        with pytest.raises(InputError, match=FULL):
            list(lookup.fill(by_id))


class FullDisk:
    """A connection that can write nothing any more."""

    def execute(self, *_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    def close(self) -> None:
        pass


def test_a_disk_that_fills_up_later_is_named_as_well() -> None:
    """Marking rows as taken and sorting those that were not write to the disk, too."""
    with RowIndex(source()) as lookup:
        lookup._rows = FullDisk()  # type: ignore[assignment]
        with pytest.raises(InputError, match=FULL):
            lookup.take("1")
        with pytest.raises(InputError, match=FULL):
            list(lookup.iter_unused("{key} is in no log"))
