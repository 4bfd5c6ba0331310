"""Parquet export, in row groups of bounded size."""

import json
from collections.abc import Iterator
from datetime import UTC
from itertools import chain
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from copydesk.data.record import EditRecord

LOG_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("context", pa.string()),
        pa.field("messages", pa.string()),
        pa.field("response", pa.string(), nullable=False),
        pa.field("edit", pa.string()),
        pa.field("user", pa.string()),
        pa.field("policy", pa.string()),
        pa.field("propensity", pa.float64()),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
        pa.field("metadata", pa.string()),
    ],
    metadata={b"copydesk": b"1"},
)
"""The columns of a log. `messages` and `metadata` hold JSON; `context` is null where `messages` is not. The key
`copydesk` in the schema's metadata marks the file as an export."""

_MESSAGES_TYPE = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_MAX_GROUP_ROWS, _MAX_GROUP_CHARACTERS = 8192, 8 << 20  # a row group ends at either


def build_log_columns(record: EditRecord) -> dict[str, Any]:
    """A record as the columns of `LOG_SCHEMA`.

    Raises:
        ValueError: the record holds a number that is not finite, or half of a surrogate pair.
        TypeError: it holds a value that JSON cannot.
        OverflowError: in UTC, `created_at` is not in the years 1 to 9999.
    """
    text = isinstance(record.context, str)
    return {
        "id": record.id,
        "context": record.context if text else None,
        "messages": None if text else _dump_json(record.model_dump(mode="json", include={"context"})["context"]),
        "response": record.response,
        "edit": record.edit,
        "user": record.user,
        "policy": record.policy,
        "propensity": record.propensity,
        "created_at": None if record.created_at is None else record.created_at.astimezone(UTC),
        "metadata": _dump_json(record.metadata) if record.metadata else None,
    }


def write_parquet(file: BinaryIO, rows: Iterator[dict[str, Any]], schema: pa.Schema | None) -> None:
    """Write the rows, at least one; without a schema they are rows of a data set for TRL."""
    if schema is None:
        first = next(rows)
        schema = pa.schema([pa.field(name, _infer_type(value)) for name, value in first.items()])
        rows = chain([first], rows)
    repeated = [name for name in ("user", "policy") if name in schema.names]
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=repeated or False) as writer:
        for group in _iter_row_groups(rows):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _infer_type(value: Any) -> pa.DataType:
    """The type of a data set's column: a label, a text or a list of messages."""
    if isinstance(value, bool):
        return pa.bool_()
    return pa.string() if isinstance(value, str) else _MESSAGES_TYPE


def _iter_row_groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    characters = 0
    for row in rows:
        group.append(row)
        characters += sum(map(_count_characters, row.values()))
        if len(group) >= _MAX_GROUP_ROWS or characters >= _MAX_GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _count_characters(value: Any) -> int:
    """Characters of text in a value."""
    if isinstance(value, str):
        return len(value)
    return sum(len(message["content"]) for message in value) if isinstance(value, list) else 0


def _dump_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()  # raises here, where the record is known
    return text
