"""Rows of CSV files and of Hugging Face data sets, and the values of tables as JSON values.

CSV is comma-, semicolon- or tab-separated values with a header (RFC 4180). The lines of a record that cannot be read
are read again as records of their own, which the `csv` module alone would not do: it would lose every row after one
missing quotation mark.
"""

import csv
import math
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from copydesk.data.importers.base import (
    MAX_ROW_BYTES,
    ROW_TOO_LONG,
    ImportSource,
    SourceRow,
    decode_raw_row,
    iter_numbered_lines,
)
from copydesk.data.strict_json import find_lone_surrogate, is_storable_number
from copydesk.errors import InputError

_DELIMITERS = ",;\t"


def iter_csv_rows(file: BinaryIO, name: str, delimiter: str | None = None) -> Iterator[SourceRow]:
    """The records, each with the number of the line it begins on; every value is text.

    A record that cannot be read ends with its first line, so that a missing quotation mark does not hide the rows after
    it. Blank lines are skipped.

    Args:
        file: at the header.
        name: what messages call it.
        delimiter: between cells; by default the comma, semicolon or tab that gives the most columns in the header.

    Raises:
        InputError: the header cannot be read, or holds a name twice.
    """
    csv.field_size_limit(MAX_ROW_BYTES)  # the default, 128 KiB, is less than a long text
    lines = _CsvLines(file)
    header, delimiter = _read_header(lines, name, delimiter)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.start_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _RowTooLong) as exc:
            place, text = lines.number, lines.first_line
            lines.push_back()
            yield SourceRow(place, error=_explain_csv_error(exc), raw=decode_raw_row(text))
            continue
        if len(cells) <= 1 and not lines.text.strip():
            continue
        if (byte := _find_invalid_byte(lines.text)) is not None:
            reason = f"byte {byte} of the row is not UTF-8; save the file as UTF-8"
        elif len(cells) != len(header):
            reason = f"{len(cells)} cells where the header has {len(header)}; quote cells that hold the delimiter"
        else:
            yield SourceRow(lines.number, dict(zip(header, cells, strict=True)))
            continue
        yield SourceRow(lines.number, error=reason, raw=decode_raw_row(lines.text))


class _RowTooLong(Exception):
    """A line, or a record of several, takes more than `MAX_ROW_BYTES`."""


class _CsvLines:
    """The lines of a file for a `csv.reader`; keeps those of the current record."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = iter_numbered_lines(file)
        self._pending: deque[tuple[int, bytes, bool]] = deque()
        self._record: list[tuple[int, bytes, bool]] = []
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        taken = self._pending.popleft() if self._pending else next(self._lines)
        self._record.append(taken)
        self._size += len(taken[1])
        if not taken[2] or self._size > MAX_ROW_BYTES:
            raise _RowTooLong
        return taken[1].decode("utf-8", errors="surrogateescape")

    @property
    def number(self) -> int:
        """The number of the line that the record begins on."""
        return self._record[0][0]

    @property
    def first_line(self) -> bytes:
        """The line that the record begins on."""
        return self._record[0][1]

    @property
    def text(self) -> bytes:
        """All lines of the record."""
        return b"".join(line for _, line, _ in self._record)

    def start_record(self) -> None:
        """Begin another record."""
        self._record, self._size = [], 0

    def push_back(self, keep: int = 1) -> None:
        """Read the lines of this record after the first `keep` again, as other records."""
        self._pending.extendleft(reversed(self._record[keep:]))


def _read_header(lines: _CsvLines, name: str, given: str | None) -> tuple[list[str], str]:
    """The names of the columns, and the delimiter."""
    cells: list[str] = []
    delimiter = ""
    while not any(cell.strip() for cell in cells):
        lines.start_record()
        try:
            first = next(lines)
            lines.push_back(0)
            delimiter = given or _guess_delimiter(first)
            lines.start_record()
            cells = next(csv.reader(lines, delimiter=delimiter, strict=True))
        except StopIteration:
            raise InputError(f"{name}: there is no header; the first row must name the columns") from None
        except (csv.Error, _RowTooLong) as exc:
            raise InputError(f"{name}:{lines.number}: the header: {_explain_csv_error(exc)}") from None
    if _find_invalid_byte(lines.text) is not None:
        raise InputError(f"{name}:{lines.number}: the header is not UTF-8; save the file as UTF-8")
    names = [cell.strip() or f"column_{number}" for number, cell in enumerate(cells, start=1)]
    if twice := next((one for one in names if names.count(one) > 1), None):
        raise InputError(f"{name}:{lines.number}: column {twice!a} appears twice in the header; rename one of them")
    return names, delimiter


def _guess_delimiter(line: str) -> str:
    """The delimiter that splits a line into the most cells."""
    return max(_DELIMITERS, key=lambda one: len(next(csv.reader([line], delimiter=one))))


def _find_invalid_byte(text: bytes) -> int | None:
    """The place of the first byte that is not UTF-8, from 1."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as exc:
        return exc.start + 1
    return None


def _explain_csv_error(exc: Exception) -> str:
    if isinstance(exc, _RowTooLong):
        return f"the row is {ROW_TOO_LONG}, or a quotation mark in it is never closed"
    match str(exc):
        case "unexpected end of data":
            return "a quotation mark opens a cell and none closes it; close it, or double it where it is text"
        case reason if "expected after" in reason:
            return "there is a quotation mark within a cell; double it, and quote the cell"
        case reason if "new-line character" in reason:
            return "there is a carriage return within a cell; quote the cell, or end lines with \\n"
        case reason:
            return f"it cannot be read ({reason}); fix the row"


_MAX_RAW_CHARACTERS = 10_000


def build_table_row(place: int, values: Mapping[str, Any]) -> SourceRow:
    """The row with these values, or with the error of one of them. Nulls are left out."""
    fields = {}
    for key, value in values.items():
        try:
            if value is not None:
                fields[key] = to_json_value(value)
        except ValueError as exc:
            return SourceRow(place, error=f"field {key!a} {exc}", raw=f"{values!a}"[:_MAX_RAW_CHARACTERS])
        except RecursionError:
            return SourceRow(place, error=f"field {key!a} is nested too deeply; flatten the row")
    return SourceRow(place, fields)


def to_json_value(value: Any) -> Any:
    """A value of a table as a JSON value.

    Times and dates become text in ISO 8601, durations seconds, decimals numbers, bytes their text in UTF-8. Nulls in
    objects are left out, since a table gives every object the keys of all others.

    Raises:
        ValueError: JSON has no such value.
    """
    match value:
        case None | bool():
            return value
        case int():
            if not is_storable_number(value):
                raise ValueError("holds an integer of more than 64 bits; store it as text")
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"holds {value}, which JSON cannot; write null")
            return value
        case str():
            if lone := find_lone_surrogate(value):
                raise ValueError(f"holds {lone!a}, half of a surrogate pair, not a character; remove it")
            return value
        case Mapping():
            return {str(key): to_json_value(one) for key, one in value.items() if one is not None}
        case list() | tuple():
            return [to_json_value(one) for one in value]
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            if not value.is_finite():
                raise ValueError(f"holds {value}, which JSON cannot; write null")
            # A value as large as 1e1000000 is not converted to an integer.
            integral = value.adjusted() < 30 and value == value.to_integral_value()
            return to_json_value(int(value) if integral else float(value))
        case bytes():
            try:
                return to_json_value(value.decode("utf-8"))
            except UnicodeDecodeError as exc:
                raise ValueError(f"is not UTF-8 at byte {exc.start + 1}; store it as text in UTF-8") from None
        case _:
            raise ValueError(f"holds a {type(value).__name__}, which JSON cannot; store it as text or a number")


_SAVED_DATASET_FILES = ("state.json", "dataset_dict.json")


def open_dataset_source(given: str, *, split: str = "train", config: str | None = None) -> ImportSource:
    """The rows of one split, streamed.

    Args:
        given: a hub id such as `owner/name`, or a folder: of `save_to_disk`, or of files that `load_dataset` reads.
        split: the split of the data set.
        config: its configuration, where there are several.

    Raises:
        InputError: `datasets` is not installed; from `rows` also where there is no such data set or split.
    """
    _import_datasets(given)
    folder = Path(given).resolve()
    local = folder.is_dir()
    beside = (
        folder.with_name(f"{folder.name}.rejected.jsonl") if local else Path(f"{_flatten_hub_id(given)}.rejected.jsonl")
    )
    return ImportSource(given, lambda: _iter_dataset_rows(given, split, config), "row", beside)


def _flatten_hub_id(hub_id: str) -> str:
    return hub_id.replace("/", "--")


def _import_datasets(given: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"{given}: data sets are read with Hugging Face datasets; pip install 'copydesk[train]'"
        ) from None
    return datasets


def _iter_dataset_rows(given: str, split: str, config: str | None) -> Iterator[SourceRow]:
    place = 0
    try:
        for place, values in enumerate(_load_split(given, split, config), start=1):
            yield build_table_row(place, values)
    except InputError:
        raise
    # The type of a loader's error depends on the files, the hub and the builder.
    except Exception as exc:
        reason = str(exc).strip().splitlines() or [type(exc).__name__]
        where = f"cannot be read after row {place}" if place else "cannot be loaded as a data set"
        raise InputError(f"{given}: {where} ({reason[0]}); check the path or id, --split and --config") from None


def _load_split(given: str, split: str, config: str | None) -> Any:
    datasets = _import_datasets(given)
    if not any((Path(given) / name).is_file() for name in _SAVED_DATASET_FILES):
        return datasets.load_dataset(given, config, split=split, streaming=True)
    saved = datasets.load_from_disk(given)
    if not isinstance(saved, datasets.DatasetDict):
        return saved
    if split not in saved:
        raise InputError(f"{given}: there is no split {split!r}; --split takes one of {', '.join(saved)}")
    return saved[split]
