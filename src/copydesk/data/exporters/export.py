"""Export of a stream of records to one file, local or at a URL, that appears whole or not at all.

JSON Lines are compressed where the name ends in `.gz`, `.zst`, `.bz2` or `.xz`.
"""

import bz2
import json
import lzma
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from copydesk.data.exporters.filters import ExportResult
from copydesk.data.exporters.trl import DatasetForm, DatasetFormat, iter_dataset_rows
from copydesk.data.jsonl import serialize_record
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.utils.atomic import open_to_read, staged_file
from copydesk.utils.remote import check_url_writable, get_url_file_name, hide_url_credentials, is_url, url_exists

_CODECS = {".gz": "gzip", ".zst": "zstd"}


def encode_record_line(record: EditRecord) -> bytes:
    """A record as one line; raises what `serialize_record` raises."""
    return serialize_record(record).encode()


def encode_json_line(row: dict[str, Any]) -> bytes:
    """A row as one line; ValueError or TypeError where it holds what JSON cannot."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_lines(file: BinaryIO, lines: Iterable[bytes], suffix: str) -> None:
    """Write the lines, compressed where the suffix of the file's name is one of a compression."""
    match suffix:
        case ".gz" | ".zst":
            import pyarrow as pa  # slow to load, and not always needed

            with pa.CompressedOutputStream(file, _CODECS[suffix]) as stream:
                for line in lines:
                    stream.write(line)
        case ".bz2":
            with bz2.BZ2File(file, "wb") as packed:
                packed.writelines(lines)
        case ".xz":
            with lzma.LZMAFile(file, "wb") as packed:
                packed.writelines(lines)
        case _:
            file.writelines(lines)


ExportFormat = Literal["jsonl", "parquet", "preference", "prompt-completion", "kto"]
"""The formats of an export: Copydesk's own (JSON Lines, Parquet) and the data sets of TRL."""

STDOUT = "-"
"""Stands for standard output."""


def get_export_suffix(out: Path | str) -> str:
    """The ending of an export's name, which decides on Parquet and on compression."""
    return Path(get_url_file_name(out) if isinstance(out, str) and is_url(out) else out).suffix


def check_export_target(
    out: Path | str, format: ExportFormat, form: DatasetForm = "auto", *, overwrite: bool = False
) -> None:
    """Refuse an export that cannot be made, before anything is read.

    Raises:
        InputError: the ending of the name is not that of the format, the format has no forms, there is a file of that
            name and `overwrite` is not set, it is a database, or nothing can be written at that URL.
    """
    parquet, name = get_export_suffix(out) == ".parquet", hide_url_credentials(out)
    if format == "parquet" and not parquet:
        raise InputError(f"{name}: the name of a Parquet file must end in .parquet")
    if format == "jsonl" and parquet:
        raise InputError(f"{name}: a name that ends in .parquet is for --format parquet; end it in .jsonl, or add that")
    if form != "auto" and format not in get_args(DatasetFormat):
        raise InputError(f"--form {form}: a log has no forms; leave it out, or choose a set for TRL with --format")
    if str(out) == STDOUT or not _target_exists(out):
        return
    if not overwrite:
        raise InputError(f"{name}: there is a file of that name already; name another, or replace it with --force")
    if (is_url(out) or Path(out).is_file()) and _is_database(out):
        raise InputError(f"{name}: this is a database, which an export never replaces; choose another name")


def export_records(
    records: Iterable[EditRecord],
    out: Path | str,
    format: ExportFormat,
    form: DatasetForm = "auto",
    *,
    overwrite: bool = False,
    done: ExportResult | None = None,
) -> ExportResult:
    """Write records to a file that appears when all of them are there; memory does not grow with their number.

    - `jsonl`: what `copydesk.data.write_jsonl` writes, and `read_jsonl` reads.
    - `parquet`: the columns of `copydesk.data.exporters.parquet.LOG_SCHEMA`, from which equal records can be made.
    - `preference`, `prompt-completion`, `kto`: see `copydesk.data.exporters.trl`; in Parquet if `out` ends in
      `.parquet`, else in JSON Lines.

    JSON Lines are compressed where the name ends in `.gz`, `.zst`, `.bz2` or `.xz`.

    Args:
        records: what to write, read once.
        out: the file, or a URL that fsspec writes to; `-` is standard output.
        format: of the file.
        form: of a set: lists of messages or texts.
        overwrite: replace a file of that name.
        done: counts so far, to which those of the export are added.

    Returns:
        The counts.

    Raises:
        InputError: as `check_export_target` and `iter_dataset_rows`; there is no record to write; the file cannot be
            written or uploaded; a record holds what the format cannot.
    """
    check_export_target(out, format, form, overwrite=overwrite)
    done = ExportResult() if done is None else done
    if str(out) == STDOUT:
        _write_rows(sys.stdout.buffer, records, out, format, form, done)
        sys.stdout.buffer.flush()
    else:
        with staged_file(out, tidy=True) as temporary, temporary.open("wb") as file:
            _write_rows(file, records, out, format, form, done)
    return done


def _write_rows(
    file: BinaryIO,
    records: Iterable[EditRecord],
    out: Path | str,
    format: ExportFormat,
    form: DatasetForm,
    done: ExportResult,
) -> None:
    name, suffix = hide_url_credentials(out), get_export_suffix(out)
    as_parquet = suffix == ".parquet"
    if as_parquet:
        from copydesk.data.exporters import parquet  # slow to load, and not always needed
    rows: Iterator[Any]
    if format == "jsonl":
        rows = _convert_records(_count_records(records, done), encode_record_line, name)
    elif format == "parquet":
        rows = _convert_records(_count_records(records, done), parquet.build_log_columns, name)
    else:
        rows = iter_dataset_rows(records, format, form, done)
        rows = rows if as_parquet else map(encode_json_line, rows)
    rows = _require_rows(rows, name, done)
    if as_parquet:
        parquet.write_parquet(file, rows, parquet.LOG_SCHEMA if format == "parquet" else None)
    else:
        write_lines(file, rows, suffix)


def _count_records(records: Iterable[EditRecord], done: ExportResult) -> Iterator[EditRecord]:
    for record in records:
        done.records += 1
        yield record


def _convert_records(records: Iterable[EditRecord], make: Callable[[EditRecord], Any], out: str) -> Iterator[Any]:
    """Each record converted by `make`; an error names the record."""
    for record in records:
        try:
            row = make(record)
        except (ValueError, TypeError, OverflowError) as exc:
            raise InputError(f"{out}: record {record.id!a} cannot be written ({exc}); fix it") from None
        yield row


def _require_rows(rows: Iterator[Any], out: str, done: ExportResult) -> Iterator[Any]:
    for row in rows:
        done.rows += 1
        yield row
    if not done.rows:
        why = ", ".join(f"{count} {reason}" for reason, count in done.left_out.items())
        left_out = f" (left out: {why})" if why else ""
        raise InputError(f"{out}: there is nothing to write{left_out}; collect edits, or widen the selection")


def _target_exists(out: Path | str) -> bool:
    if isinstance(out, str) and is_url(out):
        check_url_writable(out)
        return url_exists(out)
    return Path(out).exists()


def _is_database(path: Path | str) -> bool:
    """Whether a file is an SQLite database (https://www.sqlite.org/fileformat.html)."""
    with open_to_read(path) as file:
        return file.read(16) == b"SQLite format 3\0"
