"""Importers of files and data sets: finds out the format, decompresses, and reads JSON Lines and JSON arrays.

A source is a path, a folder, a URL, a data set of the hub, or `-` for standard input. The format of a file is the one
its name ends with, else the one its first bytes show. Compression is known by the first bytes, so that a pipe may be
compressed as well, and a damaged or truncated stream is one line of error after the rows before it.

JSON arrays are split here rather than by `ijson`, whose parser stops at the first bad element: here a bad element is
one rejected row with its own text, and the elements after it are read.
"""

import bz2
import io
import lzma
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Annotated, BinaryIO, Literal, Protocol, cast

from pydantic import Field

from copydesk.data.importers.base import (
    FORMAT_PANEL,
    MAX_ROW_BYTES,
    ROW_TOO_LONG,
    Importer,
    ImportSource,
    SourceRow,
    decode_raw_row,
    iter_numbered_lines,
)
from copydesk.data.importers.tables import iter_csv_rows, open_dataset_source
from copydesk.data.strict_json import parse_object
from copydesk.errors import InputError
from copydesk.utils.atomic import open_to_read
from copydesk.utils.config import Config, Flag
from copydesk.utils.remote import get_read_share, get_url_file_name, hide_url_credentials, is_url

ImportFormat = Literal["jsonl", "json", "csv", "tsv", "parquet", "dataset"]
"""JSON Lines, one JSON array, comma- or tab-separated values, Parquet, a data set of Hugging Face `datasets`."""

_COMPRESSION_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz")
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
    """The format of a file by the ending of its name; `log.csv.gz` is CSV."""
    endings = [ending.lower() for ending in PurePath(name).suffixes]
    while endings and endings[-1] in _COMPRESSION_SUFFIXES:
        endings.pop()
    return _FORMAT_BY_SUFFIX.get(endings[-1]) if endings else None


def guess_format(name: str, head: bytes) -> ImportFormat | None:
    """The format of a file with this name and these first bytes, decompressed.

    Files called `.json` are often JSON Lines; those that begin with an object are read as such.
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


_MAGIC_BYTES = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "bz2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEAD_SIZE = 256
_BUFFER_SIZE = 64 * 1024


def open_decompressed(file: BinaryIO, name: str) -> tuple[bytes, BinaryIO]:
    """Read a stream of text, compressed or not, from where it is.

    Compression (gzip, zstd, bzip2, xz) is known by the first bytes; several streams in a row are read as one.

    Args:
        file: can be read once; need not be seekable.
        name: what messages call it.

    Returns:
        The first bytes, and a stream of all of them.

    Raises:
        InputError: it is not in UTF-8. Reading from the stream raises one too, where the file is damaged or ends early.
    """
    head, whole = _peek_head(_CallbackStream(_get_read_function(file), name), _HEAD_SIZE)
    codec = next((codec for codec, magic in _MAGIC_BYTES.items() if magic.match(head)), None)
    if codec is not None:
        head, whole = _peek_head(_CallbackStream(_build_decompressor(whole, codec), name), _HEAD_SIZE)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:4]:
        raise InputError(f"{name}: this is UTF-16 or not text at all; save it as UTF-8")
    if head.startswith(_BYTE_ORDER_MARK):
        whole.read(len(_BYTE_ORDER_MARK))
        head = head.removeprefix(_BYTE_ORDER_MARK)
    return head, whole


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


def _build_decompressor(file: BinaryIO, codec: str) -> Callable[[int], bytes]:
    """A function that gives the next bytes, decompressed."""
    if codec in ("gzip", "zstd"):
        import pyarrow as pa  # slow to load, and not always needed

        read: Callable[[int], bytes] = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), codec).read
        return read
    make: Callable[[], _Decompressor] = bz2.BZ2Decompressor if codec == "bz2" else lzma.LZMADecompressor
    pending, current = b"", make()

    def read_next(size: int) -> bytes:
        nonlocal pending, current
        while True:
            if current.eof:  # another stream may follow
                pending = current.unused_data or file.read(_BUFFER_SIZE)
                if not pending:
                    return b""
                current = make()
            elif current.needs_input and not (pending := file.read(_BUFFER_SIZE)):
                raise EOFError
            data, pending = current.decompress(pending, size), b""
            if data:
                return data

    return read_next


class _CallbackStream(io.RawIOBase):
    """A stream made of a function that gives the next bytes, at most `size` of them and none at the end."""

    def __init__(self, pull: Callable[[int], bytes], name: str) -> None:
        self._pull = pull
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._pull(len(buffer))
        except (OSError, EOFError, lzma.LZMAError) as exc:
            reason = str(exc).lower()
            if isinstance(exc, EOFError) or "truncated" in reason:
                raise InputError(f"{self._name}: the file ends early; copy it again in full") from None
            raise InputError(f"{self._name}: cannot be read ({reason}); copy it again") from None
        buffer[: len(data)] = data
        return len(data)


def _get_read_function(file: BinaryIO) -> Callable[[int], bytes]:
    """Returns what has arrived already, so that rows that trickle through a pipe are not held back."""
    return file.read1 if isinstance(file, io.BufferedReader) else file.read


def _peek_head(raw: _CallbackStream, size: int) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, fewer only where it ends, and the stream with them still to come."""
    buffered = io.BufferedReader(raw, _BUFFER_SIZE)
    head = buffered.read(size)
    left = head

    def pull(size: int) -> bytes:
        nonlocal left
        if not left:
            return buffered.read1(size)
        chunk, left = left[:size], left[size:]
        return chunk

    return head, cast(BinaryIO, io.BufferedReader(_CallbackStream(pull, ""), _BUFFER_SIZE))


def iter_json_lines(file: BinaryIO) -> Iterator[SourceRow]:
    """The rows, each with the number of its line; blank lines are skipped."""
    for number, line, whole in iter_numbered_lines(file):
        if not whole:
            yield SourceRow(number, error=f"the line is {ROW_TOO_LONG}", raw=decode_raw_row(line))
        elif line.strip():
            yield parse_object_row(number, line, "line")


def parse_object_row(place: int, text: bytes, unit: str) -> SourceRow:
    """The row of one JSON object, or its error."""
    try:
        return SourceRow(place, parse_object(text, unit))
    except ValueError as exc:
        return SourceRow(place, error=str(exc), raw=decode_raw_row(text))


_CHUNK_SIZE = 256 * 1024
_OUTSIDE_TEXT = re.compile(rb'["\[\]{},]')
_IN_TEXT = re.compile(rb'"|\\')


def iter_json_array(file: BinaryIO, name: str) -> Iterator[SourceRow]:
    """The elements, each with its number, from 1.

    An element ends at the comma or bracket outside of all its texts, lists and objects, so a bad element does not hide
    those after it, unless a quotation mark is missing in it.

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
            yield SourceRow(number, error="there is nothing between two commas; remove one", raw="")
        else:
            yield parse_object_row(number, element.strip() + b"\n", "row")


def _iter_elements(file: BinaryIO, name: str) -> Iterator[tuple[bytes, bool]]:
    """The bytes of each element, cut where they are too many, and whether it is the last one before the bracket."""
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
                        raise InputError(f"{name}: there is more text after the end of the JSON array; remove it")
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

    A file is JSON Lines, one JSON array, CSV, TSV or Parquet; text may be compressed with gzip, zstd, bzip2 or xz. A
    folder is a data set. A name that is no file but looks like `owner/name` is a data set of the hub.

    Args:
        given: a path, a URL that fsspec reads (`s3://`, `gs://`, `hf://`, `https://`), a hub id, or `-` for standard
            input (JSON Lines, unless its first bytes or `format` say otherwise).
        format: of the file; by default that of its name, else that of its first bytes.
        split: of a data set.
        config: of a data set.

    Raises:
        InputError: there is no such source, it cannot be opened, or its format is not known.
    """
    if given == "-":
        return _build_stream_source(sys.stdin.buffer, "standard input", format)
    if is_url(given):
        return _open_url_source(given, format)
    path = Path(given)
    hub_id = _HUB_ID.fullmatch(given) and guess_format_from_name(given) is None and not path.exists()
    if format == "dataset" or path.is_dir() or hub_id:
        return open_dataset_source(given, split=split, config=config)
    file = open_to_read(path)
    if not file.seekable():
        return _build_stream_source(file, given, format)
    return _build_file_source(file, path, given, path.with_name(f"{path.name}.rejected.jsonl"), format)


def _open_url_source(url: str, format: ImportFormat | None) -> ImportSource:
    """A file at a URL, whose rejected rows go to the current folder."""
    name = hide_url_credentials(url)
    if format == "dataset":
        raise InputError(f"{name}: a data set is named by its hub id or its folder; name one, or give another --format")
    return _build_file_source(open_to_read(url), url, name, Path(f"{get_url_file_name(url)}.rejected.jsonl"), format)


def _build_file_source(
    file: BinaryIO, path: Path | str, name: str, rejected: Path, format: ImportFormat | None
) -> ImportSource:
    """The source of a file that can be opened again, here opened to find out its format."""
    file_name = rejected.name.removesuffix(".rejected.jsonl")
    with file:
        found = format or guess_format_from_name(file_name)
        if found != "parquet":
            found = format or guess_format(file_name, open_decompressed(file, name)[0])
    if found is None:
        raise InputError(f"{name}: neither its name nor its first bytes show what format it is in; add --format")
    build = _build_parquet_source if found == "parquet" else _build_text_source
    return build(path, name, found, rejected)


def _build_text_source(path: Path | str, name: str, format: ImportFormat, rejected: Path) -> ImportSource:
    read: float | None = 0.0

    def rows() -> Iterator[SourceRow]:
        nonlocal read
        with open_to_read(path) as file:
            for number, row in enumerate(_iter_rows(open_decompressed(file, name)[1], name, format)):
                if number % _PROGRESS_INTERVAL == 0:
                    read = get_read_share(file)
                yield row
            read = 1.0

    return _build_source(name, rows, format, rejected, lambda: read)


def _build_stream_source(file: BinaryIO, name: str, format: ImportFormat | None) -> ImportSource:
    """A source that can be read once."""
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


def _build_parquet_source(path: Path | str, name: str, format: ImportFormat, rejected: Path) -> ImportSource:
    from copydesk.data.importers.parquet import is_copydesk_parquet, iter_parquet_rows

    read = 0.0

    def progress(share: float) -> None:
        nonlocal read
        read = share

    def rows() -> Iterator[SourceRow]:
        return iter_parquet_rows(path, progress)

    ours = is_copydesk_parquet(path)
    return ImportSource(name, rows, "row", rejected, has_record_fields=ours, progress=lambda: read)


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


class DatasetOptions(Config):
    """Options of `--format dataset`, and of a source whose format is found out and may be a data set."""

    split: Annotated[str, Flag(panel=FORMAT_PANEL), Field(description="Split of the data set.")] = "train"
    config: Annotated[
        str | None, Flag(panel=FORMAT_PANEL), Field(description="Configuration of the data set, where it has several.")
    ] = None


def _build_file_importer(format: ImportFormat, description: str) -> Importer:
    return Importer(format, description, lambda given, _: open_row_source(given, format=format))


def _open_dataset(given: str, options: DatasetOptions) -> ImportSource:
    return open_row_source(given, format="dataset", split=options.split, config=options.config)


def _open_guessed(given: str, options: DatasetOptions) -> ImportSource:
    return open_row_source(given, split=options.split, config=options.config)


FILE_IMPORTERS = (
    _build_file_importer("jsonl", "JSON Lines: one object a line."),
    _build_file_importer("json", "One JSON array of objects."),
    _build_file_importer("csv", "Comma-, semicolon- or tab-separated values with a header."),
    _build_file_importer("tsv", "Tab-separated values with a header."),
    _build_file_importer("parquet", "A Parquet file."),
    Importer("dataset", "A data set of Hugging Face `datasets`.", _open_dataset, DatasetOptions),
)
GUESSED = Importer("", "A file or data set whose format is found out.", _open_guessed, DatasetOptions)
"""Opens a source without `--format`."""
