"""Fields of the rows that products export, which may be empty, or JSON in a text."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from copydesk.data.importers.base import SourceRow
from copydesk.data.strict_json import parse_object


def translate_row(
    row: SourceRow, translate: Callable[[Mapping[str, Any]], Iterable[dict[str, Any]]]
) -> Iterator[SourceRow]:
    """The records that one row holds, or the row with what is wrong with it."""
    if row.fields is None:
        yield row
        return
    try:
        for fields in translate(row.fields):
            yield SourceRow(row.number, fields)
    except ValueError as fault:
        yield SourceRow(row.number, error=str(fault), raw=row.raw or dump_json_line(row.fields))


def build_record_fields(metadata: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """The fields that are known; what is empty in the metadata is left out."""
    known = {name: value for name, value in fields.items() if value is not None}
    kept = drop_fields(metadata)
    return {**known, "metadata": kept} if kept else known


def decode_json_text(value: Any) -> Any:
    """An object or a list that was written as JSON into a text; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            row = parse_object(f'{{"value": {value}}}'.encode())
        except ValueError:
            return value
        return row["value"] if len(row) == 1 else value
    return value


def get_first_field(fields: Mapping[str, Any], *names: str) -> Any | None:
    """The first of these fields that is neither null nor the empty text."""
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def drop_fields(fields: Mapping[str, Any], *used: str) -> dict[str, Any]:
    """The other fields, those that are empty left out."""
    return {key: value for key, value in fields.items() if key not in used and value not in (None, "", [], {})}


def parse_timestamp(value: Any) -> float:
    """Seconds since 1970 of a time written as a number or in ISO 8601; 0 where it is neither."""
    if isinstance(value, int | float):
        return float(value)
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return 0.0
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()


def dump_json_line(value: Any) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)
