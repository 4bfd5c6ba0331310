"""A source from what the user named: a file, a folder, a data set of the hub, or `-` for standard input.

Which format a file is in: as its name says, else as its first bytes say.

The bytes of a file or of a pipe: unpacked where they are packed, without a byte-order mark.

Rows of JSON Lines: one object a line.

Rows of a file that is one JSON array of objects, read element by element.
"""

import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import BinaryIO, Literal, cast

from copydesk.data.importers.base import (
    MAX_ROW_BYTES,
    ROW_TOO_LONG,
    ImportSource,
    SourceRow,
    decode_raw_row,
    iter_numbered_lines,
)
from copydesk.data.importers.tables import iter_csv_rows, open_dataset_source
from copydesk.data.strict_json import parse_object
from copydesk.errors import InputError
from copydesk.utils.atomic import open_to_read

ImportFormat = Literal["jsonl", "json", "csv", "tsv", "parquet", "dataset"]
"""JSON Lines, one JSON array, comma- or tab-separated values, Parquet, a data set of Hugging Face `datasets`."""

_COMPRESSION_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")
_FORMAT_BY_SUFFIX: dict[str, ImportFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def guess_format_from_name(name: str) -> ImportFormat | None:
    """The format that the ending of a name stands for; `log.csv.gz` is CSV."""
    endings = [ending.lower() for ending in PurePath(name).suffixes]
    while endings and endings[-1] in _COMPRESSION_SUFFIXES:
        endings.pop()
    return _FORMAT_BY_SUFFIX.get(endings[-1]) if endings else None


def guess_format(name: str, head: bytes) -> ImportFormat | None:
    """The format of a file with this name and these first bytes, unpacked.

    Files called `.json` often are JSON Lines; those that begin with an object are taken for that.
    """
    named = guess_format_from_name(name)
    if named is not None and named != "json":
        return named
    text = head.lstrip()
    if head.startswith(b"PAR1"):
        return "parquet"
    if text.startswith(b"["):
        return "json"
    return "jsonl" if text.startswith(b"{") or named == "json" else None


_CODEC_BY_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEAD_SIZE = 256
_BUFFER_SIZE = 64 * 1024


def open_decompressed(file: BinaryIO, name: str) -> tuple[bytes, BinaryIO]:
    """Read a stream of text, or a packed one, from where it is.

    What is packed is known by its first bytes; several gzip members or zstd frames in a row are one stream.

    Args:
        file: can be read once; need not be seekable.
        name: what messages call it.

    Returns:
        The first bytes, and a stream of all of them.

    Raises:
        InputError: it is not in UTF-8. Reading from the stream raises one too, where the file is damaged or ends early.
    """
    head, whole = _peek_head(_CallbackStream(_get_read_function(file), name), _HEAD_SIZE)
    for magic, codec in _CODEC_BY_MAGIC.items():
        if head.startswith(magic):
            import pyarrow as pa  # slow to load, and not always needed

            packed = pa.CompressedInputStream(pa.PythonFile(whole, mode="r"), codec)
            head, whole = _peek_head(_CallbackStream(packed.read, name), _HEAD_SIZE)
            break
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:4]:
        raise InputError(f"{name}: this is UTF-16 or no text at all; save it as UTF-8")
    if head.startswith(_BYTE_ORDER_MARK):
        whole.read(len(_BYTE_ORDER_MARK))
        head = head.removeprefix(_BYTE_ORDER_MARK)
    return head, whole


class _CallbackStream(io.RawIOBase):
    """A stream made of a function that gives the next bytes, at most so many and none at the end."""

    def __init__(self, pull: Callable[[int], bytes], name: str) -> None:
        self._pull = pull
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._pull(len(buffer))
        except OSError as exc:
            reason = str(exc).lower()
            if "truncated" in reason:
                raise InputError(f"{self._name}: the file ends early; copy it again in full") from None
            raise InputError(f"{self._name}: cannot be read ({reason}); copy it again") from None
        buffer[: len(data)] = data
        return len(data)


def _get_read_function(file: BinaryIO) -> Callable[[int], bytes]:
    """What is there already, so that rows that trickle through a pipe are not held back."""
    return file.read1 if isinstance(file, io.BufferedReader) else file.read


def _peek_head(raw: _CallbackStream, size: int) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, fewer only where it ends, and the stream with them still to come."""
    buffered = io.BufferedReader(raw, _BUFFER_SIZE)
    head = buffered.read(size)
    left = head

    def pull(most: int) -> bytes:
        nonlocal left
        if not left:
            return buffered.read1(most)
        piece, left = left[:most], left[most:]
        return piece

    return head, cast(BinaryIO, io.BufferedReader(_CallbackStream(pull, ""), _BUFFER_SIZE))


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
    except ValueError as exc:
        return SourceRow(place, error=str(exc), raw=decode_raw_row(text))


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
