"""The rows of a log, one by one, for commands that go through it once."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from copydesk.data.jsonl import read_jsonl
from copydesk.data.record import EditRecord
from copydesk.store import EditStore, read_edits
from copydesk.utils.atomic import open_to_read


def iter_with_progress(file: Path, what: str) -> Iterator[EditRecord]:
    """The records of a log, with a progress bar on stderr, labelled `what`, where that is a terminal.

    Raises:
        InputError: the file cannot be read, or a row is faulty.
    """
    records = read_jsonl(file)
    console = Console(stderr=True)
    if not console.is_terminal or not file.is_file():
        yield from records
        return
    with open_to_read(file) as lines:
        total = sum(1 for _ in lines)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(records, total=total)


def iter_store_with_progress(store: str, what: str, **wanted: Any) -> Generator[EditRecord, None, None]:
    """The records of a store that `read_edits` finds for `wanted`, with their number on stderr likewise.

    Raises:
        InputError: the store cannot be opened.
    """
    opened = EditStore.open(store, create=False)
    console = Console(stderr=True)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn()
    try:
        with (
            opened.begin_read() as connection,
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ):
            for row in progress.track(read_edits(connection, **wanted), total=None):
                yield row.record
    finally:
        opened.close()
