"""Rows of JSON Lines: one object a line."""

from collections.abc import Iterator
from typing import BinaryIO

from copydesk.log.sources.lines import TOO_LONG, numbered_lines, raw_text
from copydesk.log.sources.source import Row
from copydesk.log.strict_json import parse_object


def json_lines(file: BinaryIO) -> Iterator[Row]:
    """The rows, each with the number of its line; blank lines are none."""
    for number, line, whole in numbered_lines(file):
        if not whole:
            yield Row(number, error=f"the line is {TOO_LONG}", raw=raw_text(line))
        elif line.strip():
            yield object_row(number, line, "line")


def object_row(place: int, text: bytes, unit: str) -> Row:
    """The row that is one JSON object, or what is wrong with that."""
    try:
        return Row(place, parse_object(text, unit))
    except ValueError as fault:
        return Row(place, error=str(fault), raw=raw_text(text))
