"""A source from what the user named: a file, a folder, a data set of the hub, or `-` for standard input."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.importers.data_set import open_dataset_source
from copydesk.data.importers.formats import ImportFormat, guess_format, guess_format_from_name
from copydesk.data.importers.json_array import iter_json_array
from copydesk.data.importers.json_lines import iter_json_lines
from copydesk.data.importers.streams import open_decompressed
from copydesk.data.importers.tables import iter_csv_rows
from copydesk.errors import InputError
from copydesk.utils.atomic import open_to_read

_PROGRESS_INTERVAL = 256  # rows between two looks at how far a file has been read, which cost a call to the system each
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def open_row_source(
    given: str, *, format: ImportFormat | None = None, split: str = "train", config: str | None = None
) -> ImportSource:
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
        return _build_stream_source(sys.stdin.buffer, "standard input", format)
    path = Path(given)
    hub_id = _HUB_ID.fullmatch(given) and guess_format_from_name(given) is None and not path.exists()
    if format == "dataset" or path.is_dir() or hub_id:
        return open_dataset_source(given, split=split, config=config)
    file = open_to_read(path)
    if not file.seekable():
        return _build_stream_source(file, given, format)
    with file:
        found = format or guess_format_from_name(given)
        if found != "parquet":
            found = format or guess_format(given, open_decompressed(file, given)[0])
    if found is None:
        raise InputError(f"{given}: neither its name nor its beginning says what format it is in; add --format")
    return _build_parquet_source(path, given) if found == "parquet" else _build_text_source(path, given, found)


def _build_text_source(path: Path, name: str, format: ImportFormat) -> ImportSource:
    read = 0.0

    def rows() -> Iterator[SourceRow]:
        nonlocal read
        with open_to_read(path) as file:
            size = max(1, os.fstat(file.fileno()).st_size)
            for number, row in enumerate(_iter_rows(open_decompressed(file, name)[1], name, format)):
                if number % _PROGRESS_INTERVAL == 0:
                    read = min(1.0, file.tell() / size)
                yield row
            read = 1.0

    return _build_source(name, rows, format, path.with_name(f"{path.name}.rejected.jsonl"), lambda: read)


def _build_stream_source(file: BinaryIO, name: str, format: ImportFormat | None) -> ImportSource:
    """What can be read once."""
    head, stream = open_decompressed(file, name)
    format = format or guess_format("", head) or "jsonl"
    if format in ("parquet", "dataset"):
        raise InputError(f"{name}: {format} cannot be read from a pipe; save it and name the file")
    left = iter([stream])

    def rows() -> Iterator[SourceRow]:
        if (once := next(left, None)) is None:
            raise InputError(f"{name}: it can be read only once; save it and name the file")
        return _iter_rows(once, name, format)

    return _build_source(name, rows, format, Path("stdin.rejected.jsonl"), lambda: None)


def _build_parquet_source(path: Path, name: str) -> ImportSource:
    from copydesk.data.importers.parquet import is_copydesk_parquet, iter_parquet_rows

    read = 0.0

    def progress(share: float) -> None:
        nonlocal read
        read = share

    def rows() -> Iterator[SourceRow]:
        return iter_parquet_rows(path, progress)

    beside = path.with_name(f"{path.name}.rejected.jsonl")
    return ImportSource(name, rows, "row", beside, has_record_fields=is_copydesk_parquet(path), progress=lambda: read)


def _iter_rows(stream: BinaryIO, name: str, format: ImportFormat) -> Iterator[SourceRow]:
    match format:
        case "json":
            return iter_json_array(stream, name)
        case "csv":
            return iter_csv_rows(stream, name)
        case "tsv":
            return iter_csv_rows(stream, name, "\t")
        case _:
            return iter_json_lines(stream)


def _build_source(
    name: str,
    rows: Callable[[], Iterator[SourceRow]],
    format: ImportFormat,
    rejected: Path,
    progress: Callable[[], float | None],
) -> ImportSource:
    texts = format in ("csv", "tsv")
    return ImportSource(name, rows, "row" if format == "json" else "line", rejected, all_text=texts, progress=progress)
