"""An export: a stream of records becomes one file, whole or not at all.

Rows as JSON Lines, plain or compressed.
"""

import json
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


ExportFormat = Literal["jsonl", "parquet", "preference", "prompt-completion", "kto"]
"""The formats of an export: Copydesk's own (JSON Lines, Parquet) and the data sets of TRL."""

STDOUT = Path("-")
"""Stands for standard output."""


def check_export_target(
    out: Path, format: ExportFormat, form: DatasetForm = "auto", *, overwrite: bool = False
) -> None:
    """Refuse an export that cannot be made, before anything is read.

    Raises:
        InputError: the ending of the name is not that of the format, the format has no forms, there is a file of that
            name that may not be replaced, or it is a database.
    """
    parquet = out.suffix == ".parquet"
    if format == "parquet" and not parquet:
        raise InputError(f"{out}: a Parquet file goes by the ending .parquet; name it so")
    if format == "jsonl" and parquet:
        raise InputError(f"{out}: JSON Lines do not go by the ending .parquet; name it .jsonl, or say --format parquet")
    if form != "auto" and format not in get_args(DatasetFormat):
        raise InputError(f"--form {form}: a log is written as it is; leave it out, or choose a set for TRL by --format")
    if out == STDOUT or not out.exists():
        return
    if not overwrite:
        raise InputError(f"{out}: there is a file of that name already; name another, or replace it with --force")
    if out.is_file() and _is_database(out):
        raise InputError(f"{out}: this is a database, which no export may replace; choose another name")


def export_records(
    records: Iterable[EditRecord],
    out: Path,
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

    JSON Lines are compressed where the name ends in `.gz` or `.zst`.

    Args:
        records: what to write, read once.
        out: the file; `-` is standard output.
        format: of the file.
        form: of a set: lists of messages or texts.
        overwrite: replace a file of that name.
        done: counts so far, to which those of the export are added.

    Returns:
        The counts.

    Raises:
        InputError: as `check_export_target` and `iter_dataset_rows`; no record is left to write; the file cannot be
            written; a record holds what the format cannot.
    """
    check_export_target(out, format, form, overwrite=overwrite)
    done = ExportResult() if done is None else done
    if out == STDOUT:
        _write_rows(sys.stdout.buffer, records, out, format, form, done)
        sys.stdout.buffer.flush()
    else:
        with staged_file(out, tidy=True) as temporary, temporary.open("wb") as file:
            _write_rows(file, records, out, format, form, done)
    return done


def _write_rows(
    file: BinaryIO,
    records: Iterable[EditRecord],
    out: Path,
    format: ExportFormat,
    form: DatasetForm,
    done: ExportResult,
) -> None:
    as_parquet = out.suffix == ".parquet"
    if as_parquet:
        from copydesk.data.exporters import parquet  # slow to load, and not always needed
    rows: Iterator[Any]
    if format == "jsonl":
        rows = _convert_records(_count_records(records, done), encode_record_line, out)
    elif format == "parquet":
        rows = _convert_records(_count_records(records, done), parquet.build_log_columns, out)
    else:
        rows = iter_dataset_rows(records, format, form, done)
        rows = rows if as_parquet else map(encode_json_line, rows)
    rows = _require_rows(rows, out, done)
    if as_parquet:
        parquet.write_parquet(file, rows, parquet.LOG_SCHEMA if format == "parquet" else None)
    else:
        write_lines(file, rows, out)


def _count_records(records: Iterable[EditRecord], done: ExportResult) -> Iterator[EditRecord]:
    for record in records:
        done.records += 1
        yield record


def _convert_records(records: Iterable[EditRecord], make: Callable[[EditRecord], Any], out: Path) -> Iterator[Any]:
    """What is made of each record; a fault says of which."""
    for record in records:
        try:
            row = make(record)
        except (ValueError, TypeError, OverflowError) as exc:
            raise InputError(f"{out}: record {record.id!a} cannot be written ({exc}); mend it") from None
        yield row


def _require_rows(rows: Iterator[Any], out: Path, done: ExportResult) -> Iterator[Any]:
    for row in rows:
        done.rows += 1
        yield row
    if not done.rows:
        why = ", ".join(f"{count} {reason}" for reason, count in done.left_out.items())
        left_out = f" (left out: {why})" if why else ""
        raise InputError(f"{out}: there is nothing to write{left_out}; collect edits, or ask for more of the log")


def _is_database(path: Path) -> bool:
    """Whether a file is one of SQLite (https://www.sqlite.org/fileformat.html)."""
    with open_to_read(path) as file:
        return file.read(16) == b"SQLite format 3\0"
