"""Dates, times and ages as they are written on the command line."""

import re
from datetime import UTC, datetime, timedelta

from copydesk.errors import InputError

_AGE_PATTERN = re.compile(r"(\d+)([dh])")


def parse_since(text: str, option: str = "--since") -> datetime:
    """The time of a text: a date, a date and time (in UTC unless it has a time zone), or an age such as `7d` or `12h`.

    Raises:
        InputError: it is none of these.
    """
    if found := _AGE_PATTERN.fullmatch(text):
        unit = timedelta(days=1) if found[2] == "d" else timedelta(hours=1)
        return datetime.now(UTC) - int(found[1]) * unit
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option} {text}: write a date such as 2026-01-31, a time, or 7d for the last week") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
