"""Rows as JSON Lines, plain or compressed."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from copydesk.log.record import EditRecord

_CODECS = {".gz": "gzip", ".zst": "zstd"}


def log_line(record: EditRecord) -> bytes:
    """A record as `copydesk.log.write_jsonl` writes it: without what is `None`, or empty metadata.

    Raises:
        ValueError: the record holds a number that is not finite, or half of a surrogate pair.
        TypeError: it holds what is no JSON value.
    """
    row = record.model_dump(mode="json", exclude={"metadata"})
    row = {field: value for field, value in row.items() if value is not None}
    return json_line(row | {"metadata": record.metadata} if record.metadata else row)


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
