"""Rows of comma-, semicolon- or tab-separated values: a header, then one record a row (RFC 4180)."""

import csv
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from copydesk.data.importers.base import SourceRow
from copydesk.data.importers.lines import MAX_ROW_BYTES, ROW_TOO_LONG, decode_raw_row, iter_numbered_lines
from copydesk.errors import InputError

_DELIMITERS = ",;\t"


def iter_csv_rows(file: BinaryIO, name: str, delimiter: str | None = None) -> Iterator[SourceRow]:
    """The records, each with the number of the line it begins on; every value is text.

    A record that cannot be read ends with its first line: one quotation mark that is missing does not hide the rows
    after it. Blank lines are no records.

    Args:
        file: at the header.
        name: what messages call it.
        delimiter: what stands between cells; else the comma, semicolon or tab that cuts the header into the most.

    Raises:
        InputError: the header cannot be read, or a name stands there twice.
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
        except (csv.Error, _RowTooLong) as fault:
            place, text = lines.number, lines.first_line
            lines.push_back()
            yield SourceRow(place, error=_explain_csv_error(fault), raw=decode_raw_row(text))
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
    """The lines of a file for a `csv.reader`, which remembers those of the record that is being read."""

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
        """Of the line the record begins on."""
        return self._record[0][0]

    @property
    def first_line(self) -> bytes:
        """The line it begins on."""
        return self._record[0][1]

    @property
    def text(self) -> bytes:
        """All its lines."""
        return b"".join(line for _, line, _ in self._record)

    def start_record(self) -> None:
        """From here on it is another record."""
        self._record, self._size = [], 0

    def push_back(self, keep: int = 1) -> None:
        """Read the lines of this record, but for the first so many, again as other records."""
        self._pending.extendleft(reversed(self._record[keep:]))


def _read_header(lines: _CsvLines, name: str, given: str | None) -> tuple[list[str], str]:
    """The names of the columns, and what stands between them."""
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
        except (csv.Error, _RowTooLong) as fault:
            raise InputError(f"{name}:{lines.number}: the header: {_explain_csv_error(fault)}") from None
    if _find_invalid_byte(lines.text) is not None:
        raise InputError(f"{name}:{lines.number}: the header is not UTF-8; save the file as UTF-8")
    names = [cell.strip() or f"column_{number}" for number, cell in enumerate(cells, start=1)]
    if twice := next((one for one in names if names.count(one) > 1), None):
        raise InputError(f"{name}:{lines.number}: column {twice!a} stands twice in the header; rename one of them")
    return names, delimiter


def _guess_delimiter(line: str) -> str:
    """What cuts a line into the most cells."""
    return max(_DELIMITERS, key=lambda one: len(next(csv.reader([line], delimiter=one))))


def _find_invalid_byte(text: bytes) -> int | None:
    """The place of the first byte that is not UTF-8, from 1."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as fault:
        return fault.start + 1
    return None


def _explain_csv_error(fault: Exception) -> str:
    if isinstance(fault, _RowTooLong):
        return f"the row is {ROW_TOO_LONG}, or a quotation mark in it is never closed"
    match str(fault):
        case "unexpected end of data":
            return "a quotation mark opens a cell and none closes it; close it, or double it where it is text"
        case reason if "expected after" in reason:
            return "a quotation mark stands within a cell; double it, and quote the cell"
        case reason if "new-line character" in reason:
            return "a carriage return stands within a cell; quote the cell, or end lines with \\n"
        case reason:
            return f"it cannot be read ({reason}); mend the row"
