"""A source from what the user named: a file, a folder, a data set of the hub, or `-` for standard input."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from copydesk.errors import InputError
from copydesk.log.files import open_to_read
from copydesk.log.sources.csv_rows import csv_rows
from copydesk.log.sources.data_set import data_set
from copydesk.log.sources.formats import Format, format_of, format_of_name
from copydesk.log.sources.json_array import json_array
from copydesk.log.sources.json_lines import json_lines
from copydesk.log.sources.source import Row, Source
from copydesk.log.sources.streams import unpacked

_LOOK = 256  # rows between two looks at how far a file has been read, which cost a call to the system each
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def open_source(given: str, *, format: Format | None = None, split: str = "train", config: str | None = None) -> Source:
    """The source that a user named.

    A file is JSON Lines, one JSON array, CSV, TSV or Parquet, and any of the text ones may be packed with gzip or
    zstd. A folder is a data set. A name that is no file but looks like `owner/name` is a data set of the hub.

    Args:
        given: a path, a hub id, or `-` for standard input (JSON Lines, unless its first bytes or `format` say else).
        format: of the file; by default what its name says, else its first bytes.
        split: of a data set.
        config: of a data set.

    Raises:
        InputError: there is no such thing, it cannot be opened, or its format is not known.
    """
    if given == "-":
        return _pipe(sys.stdin.buffer, "standard input", format)
    path = Path(given)
    hub_id = _HUB_ID.fullmatch(given) and format_of_name(given) is None and not path.exists()
    if format == "dataset" or path.is_dir() or hub_id:
        return data_set(given, split=split, config=config)
    file = open_to_read(path)
    if not file.seekable():
        return _pipe(file, given, format)
    with file:
        found = format or format_of_name(given)
        if found != "parquet":
            found = format or format_of(given, unpacked(file, given)[0])
    if found is None:
        raise InputError(f"{given}: neither its name nor its beginning says what format it is in; add --format")
    return _parquet_file(path, given) if found == "parquet" else _text_file(path, given, found)


def _text_file(path: Path, name: str, format: Format) -> Source:
    read = 0.0

    def rows() -> Iterator[Row]:
        nonlocal read
        with open_to_read(path) as file:
            size = max(1, os.fstat(file.fileno()).st_size)
            for number, row in enumerate(_rows_of(unpacked(file, name)[1], name, format)):
                if number % _LOOK == 0:
                    read = min(1.0, file.tell() / size)
                yield row
            read = 1.0

    return _source(name, rows, format, path.with_name(f"{path.name}.rejected.jsonl"), lambda: read)


def _pipe(file: BinaryIO, name: str, format: Format | None) -> Source:
    """What can be read once."""
    head, stream = unpacked(file, name)
    format = format or format_of("", head) or "jsonl"
    if format in ("parquet", "dataset"):
        raise InputError(f"{name}: {format} cannot be read from a pipe; save it and name the file")
    left = iter([stream])

    def rows() -> Iterator[Row]:
        if (once := next(left, None)) is None:
            raise InputError(f"{name}: it can be read only once; save it and name the file")
        return _rows_of(once, name, format)

    return _source(name, rows, format, Path("stdin.rejected.jsonl"), lambda: None)


def _parquet_file(path: Path, name: str) -> Source:
    from copydesk.log.sources.parquet import is_ours, parquet_rows  # slow to load, and not always needed

    read = 0.0

    def progress(share: float) -> None:
        nonlocal read
        read = share

    def rows() -> Iterator[Row]:
        return parquet_rows(path, progress)

    beside = path.with_name(f"{path.name}.rejected.jsonl")
    return Source(name, rows, "row", beside, has_record_fields=is_ours(path), progress=lambda: read)


def _rows_of(stream: BinaryIO, name: str, format: Format) -> Iterator[Row]:
    match format:
        case "json":
            return json_array(stream, name)
        case "csv":
            return csv_rows(stream, name)
        case "tsv":
            return csv_rows(stream, name, "\t")
        case _:
            return json_lines(stream)


def _source(
    name: str, rows: Callable[[], Iterator[Row]], format: Format, rejected: Path, progress: Callable[[], float | None]
) -> Source:
    texts = format in ("csv", "tsv")
    return Source(name, rows, "row" if format == "json" else "line", rejected, all_text=texts, progress=progress)
