"""Rows of a Parquet file; pyarrow is slow to load, so this module is imported only where a file needs it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from copydesk.data.importers.base import SourceRow
from copydesk.data.importers.tables import build_table_row
from copydesk.data.strict_json import parse_value
from copydesk.errors import InputError
from copydesk.utils.atomic import open_to_read
from copydesk.utils.remote import hide_url_credentials, is_url

EXPORT_MARKER = b"copydesk"
"""The key in a schema's metadata that marks files of `copydesk export`; chats and metadata are JSON text in them."""

_PARQUET_BATCH_SIZE = 256


def is_copydesk_parquet(path: Path | str) -> bool:
    """Whether `copydesk export` wrote this Parquet file, which may be at a URL.

    Raises:
        InputError: it cannot be opened as one.
    """
    with _open_parquet(path) as file:
        return _has_export_marker(file)


def iter_parquet_rows(path: Path | str, progress: Callable[[float], None] = lambda share: None) -> Iterator[SourceRow]:
    """The rows, each with its number, from 1; lists and structures become those of JSON.

    Args:
        path: of the file, or a URL.
        progress: called with the share of rows that were read.

    Raises:
        InputError: it is not a whole Parquet file, or cannot be read on.
    """
    place, name = 0, hide_url_credentials(path)
    with _open_parquet(path) as file:
        exported, rows = _has_export_marker(file), max(1, file.metadata.num_rows)
        try:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_SIZE, use_threads=False):
                for values in _iter_batch_values(_truncate_to_microseconds(batch)):
                    place += 1
                    if isinstance(values, str):
                        yield SourceRow(place, error=values)
                    else:
                        row = build_table_row(place, values)
                        yield _decode_exported_row(row) if exported else row
                progress(place / rows)
        except (pa.ArrowException, OSError) as exc:
            reason = str(exc).splitlines()[0]
            raise InputError(f"{name}: cannot be read after row {place} ({reason}); write the file again") from None


def _open_parquet(path: Path | str) -> pq.ParquetFile:
    remote = is_url(path)
    file = open_to_read(path, seekable=True)
    if not remote:
        file.close()
    try:
        # Without a buffer whole columns of a row group are held in memory.
        return pq.ParquetFile(file if remote else path, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError) as exc:
        reason = str(exc).splitlines()[0]
        raise InputError(
            f"{hide_url_credentials(path)}: this is not a whole Parquet file ({reason}); copy it again in full, "
            "uncompressed"
        ) from None


def _has_export_marker(file: pq.ParquetFile) -> bool:
    return EXPORT_MARKER in (file.schema_arrow.metadata or {})


def _truncate_to_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Python's moments have no nanoseconds."""
    for number, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            values = batch.column(number).cast(pa.timestamp("us", column.type.tz), safe=False)
            batch = batch.set_column(number, column.name, values)
    return batch


def _iter_batch_values(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """Each row's values, or what is wrong with them."""
    # Only where there are maps: without them pyarrow has a much faster way.
    maps = "strict" if any("map<" in str(column.type) for column in batch.schema) else None
    try:
        yield from batch.to_pylist(maps_as_pydicts=maps)
        return
    except (ValueError, OverflowError, KeyError, pa.ArrowException):
        pass  # one row at a time: one that has no Python values does not hide the others
    for number in range(batch.num_rows):
        try:
            yield batch.slice(number, 1).to_pylist(maps_as_pydicts=maps)[0]
        except UnicodeDecodeError as exc:
            yield f"a text is not UTF-8 at byte {exc.start + 1}; write the file again with text in UTF-8"
        except (ValueError, OverflowError, KeyError, pa.ArrowException) as exc:
            yield f"it has no JSON values ({str(exc).splitlines()[0]}); fix the row"


def _decode_exported_row(row: SourceRow) -> SourceRow:
    """A row of an exported file, whose chats and metadata are JSON text."""
    if row.fields is None:
        return row
    fields = dict(row.fields)
    try:
        if (chat := fields.pop("messages", None)) is not None:
            fields["context"] = parse_value(chat)
        if (metadata := fields.get("metadata")) is not None:
            fields["metadata"] = parse_value(metadata)
    except (ValueError, TypeError):
        return SourceRow(
            row.number,
            error="'messages' or 'metadata' is not JSON with finite numbers; export the log again",
            raw=f"{fields!a}",
        )
    return SourceRow(row.number, fields)
