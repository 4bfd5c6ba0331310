"""Rows of a file that is one JSON array of objects, read element by element."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from copydesk.data.importers.base import SourceRow
from copydesk.data.importers.json_lines import parse_object_row
from copydesk.data.importers.lines import MAX_ROW_BYTES, ROW_TOO_LONG, decode_raw_row
from copydesk.errors import InputError

_CHUNK_SIZE = 256 * 1024
_OUTSIDE_TEXT = re.compile(rb'["\[\]{},]')
_IN_TEXT = re.compile(rb'"|\\')


def iter_json_array(file: BinaryIO, name: str) -> Iterator[SourceRow]:
    """The elements, each with its number, from 1.

    An element ends at the comma or bracket that is in none of its texts, lists and objects; so a bad one does not
    hide those after it, unless it is one of its quotation marks that is missing.

    Raises:
        InputError: it does not begin with a bracket.
    """
    number = 0
    for element, last in _iter_elements(file, name):
        if last and not element.strip():
            continue  # an empty array, or a comma after the last element
        number += 1
        if len(element) > MAX_ROW_BYTES:
            yield SourceRow(number, error=f"the row is {ROW_TOO_LONG}", raw=decode_raw_row(element))
        elif not element.strip():
            yield SourceRow(number, error="nothing stands between two commas; remove one", raw="")
        else:
            yield parse_object_row(number, element.strip() + b"\n", "row")


def _iter_elements(file: BinaryIO, name: str) -> Iterator[tuple[bytes, bool]]:
    """The bytes of each element, cut where they are too many, and whether it is what stands before the last bracket."""
    element = bytearray()
    depth = 0
    in_text = escaped = opened = False

    def take(piece: bytes) -> None:
        element.extend(piece[: max(0, MAX_ROW_BYTES + 1 - len(element))])

    while chunk := file.read(_CHUNK_SIZE):
        at = begin = 0
        if not opened:
            if not chunk.strip():
                continue
            if not chunk.lstrip().startswith(b"["):
                raise InputError(f"{name}: it is not one JSON array; name its format with --format")
            opened = True
            at = begin = chunk.index(b"[") + 1
        if escaped:
            at, escaped = 1, False
        while found := (_IN_TEXT if in_text else _OUTSIDE_TEXT).search(chunk, at):
            at = found.end()
            match found.group():
                case b"\\":
                    at += 1
                    escaped = at > len(chunk)
                case b'"':
                    in_text = not in_text
                case b"{" | b"[":
                    depth += 1
                case b"," if depth == 0:
                    take(chunk[begin : at - 1])
                    yield bytes(element), False
                    element.clear()
                    begin = at
                case b"]" if depth == 0:
                    take(chunk[begin : at - 1])
                    yield bytes(element), True
                    if chunk[at:].strip() or file.read(_CHUNK_SIZE).strip():
                        raise InputError(f"{name}: something stands after the end of the JSON array; remove it")
                    return
                case b"}" | b"]":
                    depth = max(0, depth - 1)
        take(chunk[begin:])
    raise InputError(f"{name}: the file ends before its JSON array does; copy it again in full")
