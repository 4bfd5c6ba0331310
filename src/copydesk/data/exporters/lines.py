"""Rows as JSON Lines, plain or compressed."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from copydesk.data.jsonl import serialize_record
from copydesk.data.record import EditRecord

_CODECS = {".gz": "gzip", ".zst": "zstd"}


def encode_record_line(record: EditRecord) -> bytes:
    """A record as one line; the faults are those of `serialize_record`."""
    return serialize_record(record).encode()


def encode_json_line(row: dict[str, Any]) -> bytes:
    """A row as one line; the faults are those of `encode_record_line`."""
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
