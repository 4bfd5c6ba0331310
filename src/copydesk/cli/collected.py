"""The log a command learns from: a file, or what a gateway collected in its store."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from copydesk.errors import InputError
from copydesk.log.jsonl import load_log
from copydesk.log.record import EditRecord
from copydesk.log.store import EditStore, read_edits

_AGO = re.compile(r"(\d+)([dh])")


def collected(
    data: Path | None, store: str | None, since: str | None, user: str | None, tenant: str | None
) -> tuple[list[EditRecord], str]:
    """The records, and what to call where they come from.

    Raises:
        InputError: neither or both are given, what is given cannot be read, or there is nothing in it.
    """
    if (data is None) == (store is None):
        raise InputError("give the log either as --data FILE or as --store URL")
    if data is not None:
        for option, value in (("--since", since), ("--user", user), ("--tenant", tenant)):
            if value is not None:
                raise InputError(f"{option} {value}: it chooses rows of a store; give --store, or leave it out")
        return load_log(data), str(data)
    opened = EditStore.open(str(store), create=False)
    try:
        moment = None if since is None else parse_since(since)
        with opened.reading() as connection:
            records = [row.record for row in read_edits(connection, tenant=tenant, user=user, since=moment)]
        if not records:
            raise InputError(f"--store {opened.name}: it holds no such edits yet; collect some with `copydesk serve`")
        return records, opened.name
    finally:
        opened.close()


def parse_since(text: str) -> datetime:
    """A moment: a date, a date and time (of UTC unless it says otherwise), or how long ago: `7d`, `12h`.

    Raises:
        InputError: it is none of these.
    """
    if found := _AGO.fullmatch(text):
        unit = timedelta(days=1) if found[2] == "d" else timedelta(hours=1)
        return datetime.now(UTC) - int(found[1]) * unit
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"--since {text}: write a date such as 2026-01-31, a time, or 7d for the last week") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
