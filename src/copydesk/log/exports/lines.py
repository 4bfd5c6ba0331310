"""Rows as JSON Lines, plain or compressed."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from copydesk.log.jsonl import record_line
from copydesk.log.record import EditRecord

_CODECS = {".gz": "gzip", ".zst": "zstd"}


def log_line(record: EditRecord) -> bytes:
    """A record as one line; the faults are those of `record_line`."""
    return record_line(record).encode()


def json_line(row: dict[str, Any]) -> bytes:
    """A row as one line; the faults are those of `log_line`."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_lines(file: BinaryIO, lines: Iterable[bytes], name: Path) -> None:
    """Write the lines, through gzip or zstd where the name of the file ends in `.gz` or `.zst`."""
    if (codec := _CODECS.get(name.suffix)) is None:
        file.writelines(lines)
        return
    import pyarrow as pa

    with pa.CompressedOutputStream(file, codec) as stream:
        for line in lines:
            stream.write(line)
