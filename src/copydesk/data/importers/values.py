"""Values of tables (Parquet, data sets) as JSON values."""

import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from copydesk.data.importers.base import SourceRow
from copydesk.data.strict_json import find_lone_surrogate

_MAX_RAW_CHARACTERS = 10_000


def build_table_row(place: int, values: Mapping[str, Any]) -> SourceRow:
    """The row with these values, or what is wrong with one of them. Nulls are left out."""
    fields = {}
    for key, value in values.items():
        try:
            if value is not None:
                fields[key] = to_json_value(value)
        except ValueError as fault:
            return SourceRow(place, error=f"field {key!a} {fault}", raw=f"{values!a}"[:_MAX_RAW_CHARACTERS])
        except RecursionError:
            return SourceRow(place, error=f"field {key!a} is nested too deeply; flatten the row")
    return SourceRow(place, fields)


def to_json_value(value: Any) -> Any:
    """A value of a table as JSON has it.

    Moments and dates become text as in ISO 8601, lengths of time seconds, decimals numbers, bytes the text they are
    in UTF-8. Nulls in objects are left out: a table gives every object the keys of all others.

    Raises:
        ValueError: JSON has no such value.
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"holds {value}, which JSON cannot; write null")
            return value
        case str():
            if lone := find_lone_surrogate(value):
                raise ValueError(f"holds {lone!a}, half of a surrogate pair, not a character; remove it")
            return value
        case Mapping():
            return {str(key): to_json_value(one) for key, one in value.items() if one is not None}
        case list() | tuple():
            return [to_json_value(one) for one in value]
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return to_json_value(int(value) if value == value.to_integral_value() else float(value))
        case bytes():
            try:
                return to_json_value(value.decode("utf-8"))
            except UnicodeDecodeError as fault:
                raise ValueError(f"is not UTF-8 at byte {fault.start + 1}; store it as text in UTF-8") from None
        case _:
            raise ValueError(f"holds a {type(value).__name__}, which JSON cannot; store it as text or a number")
