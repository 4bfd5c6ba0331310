"""What all importers share: rows with their place, a source of rows, and the entry of an importer in `IMPORTERS`.

Also here: lines of bytes of bounded length, helpers for fields that exports leave empty or write as JSON text, and an
index on disk for a smaller file whose rows are looked up by key.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self

from copydesk.data.strict_json import is_storable_number, parse_object
from copydesk.errors import InputError
from copydesk.utils.config import Config


@dataclass(frozen=True)
class SourceRow:
    """One row of a source: its fields, or the error of a row that could not be read.

    Attributes:
        number: from 1: the number of the line it begins on where the source is lines of text, else of the row.
        fields: JSON values by name; `None` where the row could not be read.
        error: why it could not be read, in one clause that includes the fix.
        raw: the row as text for the file of rejected rows; `None` where `fields` hold everything. Bytes that are not
            UTF-8 are escaped, and very long rows are cut.
    """

    number: int
    fields: Mapping[str, Any] | None = None
    error: str | None = None
    raw: str | None = None


@dataclass(frozen=True)
class ImportSource:
    """A source of rows to import.

    Attributes:
        name: its name in messages: a path, a URL without its password, a hub id, `standard input`.
        rows: reads the rows from the beginning, in bounded memory. Can be called again, except where the source can
            be read only once. InputError when the source as a whole cannot be read.
        unit: the unit of a row's number: `line` or `row`.
        rejected_path: the default file for rejected rows.
        has_record_fields: whether the fields have the names of `EditRecord`'s already, so that no mapping is needed.
        all_text: whether every value is text, as in CSV, where an empty cell may also mean no value.
        progress: the share that has been read so far, from 0 to 1; `None` where it is not known.
    """

    name: str
    rows: Callable[[], Iterator[SourceRow]]
    unit: str
    rejected_path: Path
    has_record_fields: bool = False
    all_text: bool = False
    progress: Callable[[], float | None] = lambda: None


@dataclass(frozen=True)
class Importer:
    """An entry of `copydesk.data.importers.IMPORTERS`: one format that `copydesk import --format NAME` reads.

    Attributes:
        name: the value of `--format`.
        description: what it reads, in one line.
        open: opens a source; takes what the user named and an instance of `options`. InputError where that fails.
        options: the format's own settings; each field becomes an option of `copydesk import`. Formats may share a
            field name, which is then one option.
    """

    name: str
    description: str
    open: Callable[[str, Any], ImportSource]
    options: type[Config] = Config


FORMAT_PANEL = "Options of one --format"
"""The heading in `--help` under which the options of importers are listed."""


MAX_ROW_BYTES = 16 * 1024 * 1024
"""The largest size of a row; a longer one is a bad row, and is skipped without being held in memory."""

ROW_TOO_LONG = f"longer than {MAX_ROW_BYTES // 1024**2} MiB; shorten or remove it"

_MAX_RAW_BYTES = 100_000


def iter_numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """The lines with their numbers, from 1, and whether they are whole; a line that is too long is cut."""
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        whole = len(line) <= MAX_ROW_BYTES
        if not whole:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(MAX_ROW_BYTES)
        yield number, line, whole


def decode_raw_row(data: bytes) -> str:
    """A row as text for the file of rejected rows: bytes that are not UTF-8 are escaped, long rows are cut."""
    text = data[:_MAX_RAW_BYTES].decode("utf-8", errors="backslashreplace").rstrip("\r\n")
    return text if len(data) <= _MAX_RAW_BYTES else text + "…"


def translate_row(
    row: SourceRow, translate: Callable[[Mapping[str, Any]], Iterable[dict[str, Any]]]
) -> Iterator[SourceRow]:
    """The records that one row holds, or the row with its error."""
    if row.fields is None:
        yield row
        return
    try:
        for fields in translate(row.fields):
            yield SourceRow(row.number, fields)
    except ValueError as exc:
        yield SourceRow(row.number, error=str(exc), raw=row.raw or dump_json_line(row.fields))


def build_record_fields(metadata: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """The fields that have a value; empty metadata is left out."""
    known = {name: value for name, value in fields.items() if value is not None}
    kept = drop_fields(metadata)
    return {**known, "metadata": kept} if kept else known


def decode_json_text(value: Any) -> Any:
    """The object or list written as JSON in a text; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            row = parse_object(f'{{"value": {value}}}'.encode())
        except ValueError:
            return value
        return row["value"] if len(row) == 1 else value
    return value


def get_first_field(fields: Mapping[str, Any], *names: str) -> Any | None:
    """The first of these fields that is neither null nor the empty text."""
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def drop_fields(fields: Mapping[str, Any], *used: str) -> dict[str, Any]:
    """The other fields, those that are empty left out."""
    return {key: value for key, value in fields.items() if key not in used and value not in (None, "", [], {})}


def parse_timestamp(value: Any) -> float:
    """Seconds since 1970 of a time written as a number or in ISO 8601; 0 where it is neither."""
    if isinstance(value, int | float):
        return float(value) if is_storable_number(value) else 0.0
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return 0.0
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()


def dump_json_line(value: Any) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)


class RowIndex:
    """An index of a smaller file's rows by key, in a temporary file, so that memory does not grow with them.

    Of several rows with one key the latest is kept. `iter_unused` gives the rows that were never looked up. All
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
        """Index the file, and yield the rows that have an error.

        Args:
            read: gives a row's key, its rank in time, and its JSON value; `None` where the row is of another kind;
                ValueError where it has an error.
        """
        for row in self._source.rows():
            if row.fields is None:
                yield self._build_error_row(row.number, row.error or "", row.raw)
                continue
            try:
                found = read(row.fields)
            except ValueError as exc:
                yield self._build_error_row(row.number, str(exc), dump_json_line(row.fields))
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

    def iter_unused(self, error: str) -> Iterator[SourceRow]:
        """A row with this error for each that was never looked up; `{key}` in the text is replaced by its key."""
        with self._handle_disk_errors():
            for key, place, value in self._rows.execute(
                "SELECT key, place, value FROM rows WHERE NOT taken ORDER BY place"
            ):
                yield self._build_error_row(place, error.format(key=key), value)

    @contextmanager
    def _handle_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as exc:
            raise InputError(
                f"{self._source.name}: its rows cannot be kept in a temporary file ({exc}); free some space, or name"
                " another folder in the environment variable SQLITE_TMPDIR"
            ) from None

    def _build_error_row(self, place: int, error: str, raw: str | None) -> SourceRow:
        return SourceRow(place, error=f"{self._source.name}, {self._source.unit} {place}: {error}", raw=raw)
