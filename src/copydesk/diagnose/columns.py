"""What is kept of every row: its cost and moment, 16 bytes, in memory; five digests in a temporary file."""

import json
import sqlite3
from array import array
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from copydesk.data.record import EditRecord

EMPTY_DIGEST = 0
"""The digest of what is not there."""

_INSERT_BATCH = 1_000  # rows to a statement
_CACHE_KIB = 4 << 10  # KiB of the file that are held in memory, however long it gets


def hash_texts(*parts: str) -> int:
    """Eight bytes of BLAKE2b that stand for texts, with a sign; `EMPTY_DIGEST` only where there are none."""
    written = json.dumps(parts).encode("ascii")
    return int.from_bytes(blake2b(written, digest_size=8).digest(), "little", signed=True) or 1


class RowDigests:
    """Digests, cost and moment of the rows whose edit is known, in the order of the log.

    The digests are in an SQLite file without a name, where `SQLITE_TMPDIR` or `TMPDIR` says; it goes with the object.
    """

    def __init__(self) -> None:
        self._costs, self._timestamps = array("d"), array("d")
        self._pending: list[tuple[int, ...]] = []
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute(
            "CREATE TABLE rows (place INTEGER PRIMARY KEY, number INT, "
            "row INT, response INT, edit INT, id INT, parent INT)"
        )

    def add(self, number: int, record: EditRecord, cost: float) -> None:
        """Keep what is needed of a row; `number` counts all rows from 1."""
        edit = record.edit or ""
        context = record.context
        said = context if isinstance(context, str) else json.dumps([message.model_dump() for message in context])
        parent = record.metadata.get("parent")
        self._pending.append(
            (
                len(self._costs),
                number,
                hash_texts(said, record.response, edit),
                hash_texts(record.response.strip()) if record.response.strip() else EMPTY_DIGEST,
                # An accepted text that comes again is a repetition, not a second edit.
                hash_texts(edit.strip()) if record.edited and edit.strip() else EMPTY_DIGEST,
                hash_texts(record.id),
                hash_texts(str(parent)) if isinstance(parent, str | int) else EMPTY_DIGEST,
            )
        )
        self._costs.append(cost)
        self._timestamps.append(record.created_at.timestamp() if record.created_at is not None else float("nan"))
        if len(self._pending) == _INSERT_BATCH:
            self._flush()

    @property
    def costs(self) -> NDArray[np.float64]:
        """The cost of each row."""
        return np.asarray(self._costs)

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """When each row was written, in seconds; not a number where that is not known."""
        return np.asarray(self._timestamps)

    def find_duplicates(self) -> tuple[int, list[int]]:
        """How many rows repeat an earlier one (context, response and edit), and the numbers of the first three."""
        self._flush()
        self._create_index("row")
        (different,) = self._file.execute("SELECT count(DISTINCT row) FROM rows").fetchone()
        repeated = len(self._costs) - different
        if not repeated:
            return 0, []
        query = """SELECT number FROM rows AS again WHERE EXISTS
                   (SELECT 1 FROM rows WHERE row = again.row AND place < again.place) ORDER BY place LIMIT 3"""
        return repeated, [number for (number,) in self._file.execute(query)]

    def iter_repeated_edit_costs(self) -> Iterator[tuple[float, float]]:
        """The costs (first, second) of rows that edit what an earlier edit had led to.

        Such a row's response is an earlier row's edit (white space around it aside), or its `metadata` names that row
        as `parent`.
        """
        self._flush()
        self._create_index("edit")
        self._create_index("id")
        query = f"""
            SELECT place, coalesce(
              (SELECT min(place) FROM rows WHERE later.parent != {EMPTY_DIGEST} AND id = later.parent
                 AND edit != {EMPTY_DIGEST} AND place < later.place),
              (SELECT min(place) FROM rows WHERE later.response != {EMPTY_DIGEST} AND edit = later.response
                 AND place < later.place))
            FROM rows AS later ORDER BY place"""
        for place, earlier in self._file.execute(query):
            if earlier is not None:
                yield self._costs[earlier], self._costs[place]

    def _flush(self) -> None:
        self._file.execute("BEGIN")
        self._file.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", self._pending)
        self._file.execute("COMMIT")
        self._pending.clear()

    def _create_index(self, column: str) -> None:
        self._file.execute(f"CREATE INDEX IF NOT EXISTS {column}_index ON rows ({column}, place)")
