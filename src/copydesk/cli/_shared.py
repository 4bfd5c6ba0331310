"""The log a command learns from: a file, or what a gateway collected in its store."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from copydesk.data.jsonl import load_log
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.store import EditStore, read_edits
from copydesk.store.users import read_users

_AGE_PATTERN = re.compile(r"(\d+)([dh])")


def load_records(
    data: Path | None,
    store: str | None,
    since: str | None,
    user: str | None,
    tenant: str | None,
    group: str | None = None,
) -> tuple[list[EditRecord], str]:
    """The records, and what to call where they come from.

    Raises:
        InputError: neither or both are given, what is given cannot be read, or there is nothing in it.
    """
    if (data is None) == (store is None):
        raise InputError("give the log either as --data FILE or as --store URL")
    if data is not None:
        for option, value in (("--since", since), ("--user", user), ("--group", group), ("--tenant", tenant)):
            if value is not None:
                raise InputError(f"{option} {value}: it chooses rows of a store; give --store, or leave it out")
        return load_log(data), str(data)
    opened = EditStore.open(str(store), create=False)
    try:
        moment = None if since is None else parse_since(since)
        with opened.begin_read() as connection:
            found = read_edits(connection, tenant=tenant, user=user, group=group, since=moment)
            records = [row.record for row in found]
            if not records:
                raise no_rows_error(connection, opened.name, user=user, group=group, tenant=tenant)
        return records, opened.name
    finally:
        opened.close()


def no_rows_error(
    connection: Connection, store: str, *, user: str | None, group: str | None, tenant: str | None
) -> InputError:
    """The fault of a command that found no edits of those it was asked for: what there is instead.

    Args:
        connection: to the store.
        store: what to call it.
        user: whose edits were asked for.
        group: or those of which group.
        tenant: of this one only.
    """
    if user is None and group is None:
        return InputError(f"--store {store}: it holds no such edits yet; collect some with `copydesk serve`")
    members: Counter[str] = Counter()
    edits: Counter[str] = Counter()
    for person in read_users(connection, "", tenant=tenant):
        edits[person.user] += person.edits
        if person.group is not None:
            members[person.group] += 1
    given = (("user", user), ("group", group), ("tenant", tenant))
    asked = " of ".join(f"{what} {name!a}" for what, name in given if name is not None)
    if group is not None and not members[group]:
        there = f"its groups are {_describe_largest(members)}" if +members else "nobody is in a group yet"
    else:
        there = f"there are edits of {_describe_largest(edits)}" if +edits else "there are none of anybody who is named"
    return InputError(f"--store {store}: it holds no such edits of {asked}; {there}; see `copydesk users`")


def _describe_largest(counts: Counter[str], most: int = 3) -> str:
    """The largest of some counts: `'ann' (12), 'bob' (3) and 4 more`."""
    said = [f"{name!a} ({count})" for name, count in (+counts).most_common(most)]
    more = len(+counts) - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")


def parse_since(text: str, option: str = "--since") -> datetime:
    """A moment: a date, a date and time (of UTC unless it says otherwise), or how long ago: `7d`, `12h`.

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
