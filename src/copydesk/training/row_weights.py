"""Weights of a log's rows: by user, by age, or from a metadata field."""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from copydesk.data.record import EditRecord
from copydesk.errors import InputError

RowWeighting = Callable[[Sequence[EditRecord]], list[float]]
"""Gives each of some rows a weight, at least 0; only their ratios matter."""


def compute_row_weights(records: Iterable[EditRecord], spec: str) -> dict[str, float]:
    """The weights of a log's rows, 1 on average.

    Args:
        records: the log; rows whose edit is pending get no weight.
        spec: `user`: every user weighs the same in total, however much they edited. `recency:DAYS`: half as much for
            every DAYS days that a row is older than the newest. `field:NAME`: the number in `metadata[NAME]`.

    Returns:
        Weights by the rows' ids.

    Raises:
        InputError: `spec` is none of these; a row lacks what it asks for; or every row weighs 0.
    """
    weigh = parse_row_weighting(spec)
    rows = [record for record in records if not record.pending]
    if not rows:
        return {}
    weights = weigh(rows)
    largest = max(weights)
    if largest == 0:
        raise InputError(f"--row-weighting {spec}: all {len(rows)} rows have weight 0; give some a larger one")
    shares = [weight / largest for weight in weights]  # at most 1, so that their sum is finite
    mean = math.fsum(shares) / len(shares)
    return {record.id: share / mean for record, share in zip(rows, shares, strict=True)}


def parse_row_weighting(spec: str) -> RowWeighting:
    """What `compute_row_weights` calls a spec, understood but not yet applied to any row.

    Raises:
        InputError: it is none of those.
    """
    match spec.partition(":"):
        case ("user", "", ""):
            return _weigh_by_user
        case ("recency", ":", days) if (half_life := _parse_number(days)) > 0:
            return partial(_weigh_by_recency, half_life)
        case ("field", ":", name) if name:
            return partial(_weigh_by_field, name)
    raise InputError(f"--row-weighting: {spec!r} is not one of user, recency:DAYS (more than 0), field:NAME")


def _weigh_by_user(rows: Sequence[EditRecord]) -> list[float]:
    for record in rows:
        if record.user is None:
            raise InputError(f"--row-weighting user: row {record.id!r} has no user; use another weighting")
    edits = Counter(record.user for record in rows)
    return [1 / edits[record.user] for record in rows]


def _weigh_by_recency(half_life: float, rows: Sequence[EditRecord]) -> list[float]:
    moments = []
    for record in rows:
        if record.created_at is None:
            raise InputError(f"--row-weighting recency: row {record.id!r} has no created_at; use another weighting")
        moments.append(record.created_at.timestamp())
    newest = max(moments)
    return [0.5 ** ((newest - moment) / 86400 / half_life) for moment in moments]


def _weigh_by_field(name: str, rows: Sequence[EditRecord]) -> list[float]:
    weights = []
    for record in rows:
        value = record.metadata.get(name)
        # JSON's true is a number to Python, and its integers know no largest.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
            found = f"is {value!r}" if name in record.metadata else "is missing"
            raise InputError(
                f"--row-weighting: row {record.id!r}: metadata[{name!r}] {found}; give a finite number, at least 0"
            )
        weights.append(float(value))
    return weights


def _parse_number(text: str) -> float:
    """A finite number, or NaN, which is above nothing."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
