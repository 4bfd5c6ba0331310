r"""Lines of bytes that end with `\n`, none of which takes more than so much memory."""

from collections.abc import Iterator
from typing import BinaryIO

MAX_ROW_BYTES = 16 * 1024 * 1024
"""The most bytes a row may take; a longer one is a bad row, and is passed over without being held in memory."""

ROW_TOO_LONG = f"longer than {MAX_ROW_BYTES // 1024**2} MiB; shorten or remove it"

_MAX_RAW_BYTES = 100_000


def iter_numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """The lines with their numbers, from 1, and whether they are whole; of one that is too long comes the beginning."""
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
    """A row as it stood there, for the file of rejected rows: escapes for what is not UTF-8, cut where it is long."""
    text = data[:_MAX_RAW_BYTES].decode("utf-8", errors="backslashreplace").rstrip("\r\n")
    return text if len(data) <= _MAX_RAW_BYTES else text + "…"
