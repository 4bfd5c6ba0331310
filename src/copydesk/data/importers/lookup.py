"""A smaller file beside a larger one, whose rows are looked up by key."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.importers.fields import dump_json_line
from copydesk.errors import InputError


class RowIndex:
    """The rows of a smaller file by key, in a temporary file, so that memory does not grow with them.

    Of several rows with one key the latest is kept. What no row of the larger file asked for is known at the end. All
    methods raise `InputError` where the temporary file cannot grow, as on a full disk.
    """

    def __init__(self, source: ImportSource) -> None:
        self._source = source
        # The empty name is a file that SQLite removes by itself, however this process ends.
        self._rows = sqlite3.connect("", check_same_thread=False)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute(
            "CREATE TABLE rows (key TEXT PRIMARY KEY, place INTEGER, rank REAL, value TEXT, taken INTEGER DEFAULT 0)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    def fill(self, read: Callable[[Mapping[str, Any]], tuple[str, float, Any] | None]) -> Iterator[SourceRow]:
        """Take in the file, and yield the rows that are faulty.

        Args:
            read: gives a row's key, how late it is, and its JSON value; `None` where the row is of another kind;
                ValueError where it is faulty.
        """
        for row in self._source.rows():
            if row.fields is None:
                yield self._build_error_row(row.number, row.error or "", row.raw)
                continue
            try:
                found = read(row.fields)
            except ValueError as fault:
                yield self._build_error_row(row.number, str(fault), dump_json_line(row.fields))
                continue
            if found is not None:
                key, rank, value = found
                with self._handle_disk_errors():
                    self._rows.execute(
                        "INSERT INTO rows (key, place, rank, value) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
                        " place = excluded.place, rank = excluded.rank, value = excluded.value"
                        " WHERE excluded.rank >= rank",
                        (key, row.number, rank, dump_json_line(value)),
                    )

    def take(self, *keys: str) -> Any | None:
        """The latest value under any of these keys."""
        asked = ", ".join("?" * len(keys))
        with self._handle_disk_errors():
            found = self._rows.execute(
                f"SELECT value FROM rows WHERE key IN ({asked}) ORDER BY rank DESC, place DESC", keys
            )
            row = found.fetchone()
            if row is None:
                return None
            self._rows.execute(f"UPDATE rows SET taken = 1 WHERE key IN ({asked})", keys)
        return json.loads(row[0])

    def iter_unused(self, fault: str) -> Iterator[SourceRow]:
        """A faulty row for each that was never taken; `{key}` in the text stands for its key."""
        with self._handle_disk_errors():
            for key, place, value in self._rows.execute(
                "SELECT key, place, value FROM rows WHERE NOT taken ORDER BY place"
            ):
                yield self._build_error_row(place, fault.format(key=key), value)

    @contextmanager
    def _handle_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as fault:
            raise InputError(
                f"{self._source.name}: its rows cannot be kept in a temporary file ({fault}); free some space, or name"
                " another folder for it in the environment variable SQLITE_TMPDIR"
            ) from None

    def _build_error_row(self, place: int, fault: str, raw: str | None) -> SourceRow:
        return SourceRow(place, error=f"{self._source.name}, {self._source.unit} {place}: {fault}", raw=raw)
