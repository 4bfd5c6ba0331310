"""What every source of rows is: a stream of rows, each with its place, or with what is wrong with it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SourceRow:
    """One row as a source gave it: its fields, or what is wrong with it.

    Attributes:
        number: its number, from 1: of the line it begins on where the source is lines of text, else of the row.
        fields: by name, JSON values; `None` where the row could not be read.
        error: why not, in one clause that also says how to mend it.
        raw: the row as it stood there, for the file of rejected rows; `None` where `fields` say it all. What is not
            UTF-8 is written in escapes, and a text of many megabytes is cut.
    """

    number: int
    fields: Mapping[str, Any] | None = None
    error: str | None = None
    raw: str | None = None


@dataclass(frozen=True)
class ImportSource:
    """Where rows to import come from.

    Attributes:
        name: what messages call it: a path, a hub id, `standard input`.
        rows: starts at the beginning and gives one row after another; memory does not grow with their number. Can be
            called again, except where the source can only be read once. InputError when the source as a whole cannot
            be read.
        unit: what a place counts: `line` or `row`.
        rejected_path: the file next to it that rejected rows go to, unless the user names another.
        has_record_fields: whether the fields have the names of `EditRecord`'s already, so that nothing is to be
            guessed.
        all_text: whether every value is text, as in CSV, where an empty cell may also say that there is nothing.
        progress: the share that has been read so far, from 0 to 1; `None` where that is not known.
    """

    name: str
    rows: Callable[[], Iterator[SourceRow]]
    unit: str
    rejected_path: Path
    has_record_fields: bool = False
    all_text: bool = False
    progress: Callable[[], float | None] = lambda: None
