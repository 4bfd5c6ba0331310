"""Rows of JSON Lines: one object a line."""

from collections.abc import Iterator
from typing import BinaryIO

from copydesk.data.importers.base import SourceRow
from copydesk.data.importers.lines import ROW_TOO_LONG, decode_raw_row, iter_numbered_lines
from copydesk.data.strict_json import parse_object


def iter_json_lines(file: BinaryIO) -> Iterator[SourceRow]:
    """The rows, each with the number of its line; blank lines are none."""
    for number, line, whole in iter_numbered_lines(file):
        if not whole:
            yield SourceRow(number, error=f"the line is {ROW_TOO_LONG}", raw=decode_raw_row(line))
        elif line.strip():
            yield parse_object_row(number, line, "line")


def parse_object_row(place: int, text: bytes, unit: str) -> SourceRow:
    """The row that is one JSON object, or what is wrong with that."""
    try:
        return SourceRow(place, parse_object(text, unit))
    except ValueError as fault:
        return SourceRow(place, error=str(fault), raw=decode_raw_row(text))
