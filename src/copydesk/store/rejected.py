"""The file of rejected rows: line number, reason, and the row itself."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from copydesk.data.importers.base import SourceRow
from copydesk.utils.atomic import staged_file


class RejectedRowWriter:
    """Collects rejected rows in a file that appears when all rows were seen, if there were any.

    Attributes:
        path: of the file.
        count: how many there are so far.
        samples: the first few, as `(place, reason)`.
    """

    MAX_SAMPLES = 5

    def __init__(self, path: Path, unit: str, file: TextIO) -> None:
        self.path = path
        self.count = 0
        self.samples: list[tuple[int, str]] = []
        self._unit = unit
        self._file = file

    def add(self, row: SourceRow, reason: str) -> None:
        """Keep a row with the reason why it was rejected."""
        self.count += 1
        if len(self.samples) < self.MAX_SAMPLES:
            self.samples.append((row.number, reason))
        kept: dict[str, Any] = {self._unit: row.number, "reason": reason}
        if row.fields is not None:
            kept["row"] = row.fields
        if row.raw is not None:
            kept["raw"] = row.raw
        # ASCII and `str`: a row may have been rejected for holding what no JSON file can.
        try:
            line = json.dumps(kept, default=str)
        except RecursionError:  # the row is nested more deeply than JSON can be written
            line = json.dumps({key: value for key, value in kept.items() if key != "row"})
        self._file.write(line + "\n")


class _NothingRejected(Exception):
    """There is nothing to write."""


@contextmanager
def open_rejected_rows(path: Path, unit: str) -> Iterator[RejectedRowWriter]:
    """A file for rejected rows at `path`, which stays what it was until the block ends.

    Without any, a file of an earlier import is removed: its rows were mended.
    """
    try:
        with staged_file(path, tidy=True) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            rejected = RejectedRowWriter(path, unit, file)
            yield rejected
            if not rejected.count:
                raise _NothingRejected
    except _NothingRejected:
        path.unlink(missing_ok=True)
