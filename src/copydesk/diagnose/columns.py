"""What is kept of every row: eight numbers, so that a million rows take 64 MB."""

import json
from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copydesk.log.record import EditRecord

Digests = NDArray[np.uint64]

NOTHING = 0
"""The digest of what is not there."""


def digest(*parts: str) -> int:
    """Eight bytes of BLAKE2b that stand for texts; `NOTHING` only where there are none."""
    written = json.dumps(parts).encode("ascii")
    return int.from_bytes(blake2b(written, digest_size=8).digest(), "little") or 1


class Columns:
    """Digests, cost and moment of the rows whose edit is known, in the order of the log."""

    def __init__(self) -> None:
        self._row, self._response, self._edit = array("Q"), array("Q"), array("Q")
        self._id, self._parent = array("Q"), array("Q")
        self._cost, self._moment = array("d"), array("d")
        self._number = array("Q")

    def add(self, number: int, record: EditRecord, cost: float) -> None:
        """Keep what is needed of a row; `number` counts all rows from 1."""
        edit = record.edit or ""
        context = record.context
        said = context if isinstance(context, str) else json.dumps([message.model_dump() for message in context])
        self._number.append(number)
        self._row.append(digest(said, record.response, edit))
        self._response.append(digest(record.response.strip()) if record.response.strip() else NOTHING)
        # An accepted text that comes again is a repetition, not a second edit.
        self._edit.append(digest(edit.strip()) if record.edited and edit.strip() else NOTHING)
        self._id.append(digest(record.id))
        parent = record.metadata.get("parent")
        self._parent.append(digest(str(parent)) if isinstance(parent, str | int) else NOTHING)
        self._cost.append(cost)
        self._moment.append(record.created_at.timestamp() if record.created_at is not None else float("nan"))

    @property
    def costs(self) -> NDArray[np.float64]:
        """The cost of each row."""
        return np.array(self._cost)

    @property
    def moments(self) -> NDArray[np.float64]:
        """When each row was written, in seconds; not a number where that is not known."""
        return np.array(self._moment)

    def duplicates(self) -> tuple[int, list[int]]:
        """How many rows repeat an earlier one (context, response and edit), and the numbers of the first three."""
        _, first = np.unique(np.array(self._row, dtype=np.uint64), return_index=True)
        again = np.ones(len(self._row), dtype=bool)
        again[first] = False
        return int(again.sum()), [self._number[place] for place in np.flatnonzero(again)[:3]]

    def edited_again(self) -> list[tuple[float, float]]:
        """The costs (first, second) of rows that edit what an earlier edit had led to.

        Such a row's response is an earlier row's edit (white space around it aside), or its `metadata` names that row
        as `parent`.
        """
        by_text = _shared(self._response, self._edit)
        by_parent = _shared(self._parent, self._id)
        edits: dict[int, int] = {}
        ids: dict[int, int] = {}
        pairs = []
        for place, (response, edit, own, parent) in enumerate(
            zip(self._response, self._edit, self._id, self._parent, strict=True)
        ):
            earlier = ids.get(parent) if parent in by_parent else None
            if earlier is None and response in by_text:
                earlier = edits.get(response)
            if earlier is not None:
                pairs.append((self._cost[earlier], self._cost[place]))
            if edit in by_text:
                edits.setdefault(edit, place)
            if edit != NOTHING and own in by_parent:
                ids.setdefault(own, place)
        return pairs


def _shared(one: Sequence[Any], other: Sequence[Any]) -> set[int]:
    """The digests that occur in both columns."""
    common = np.intersect1d(np.array(one, dtype=np.uint64), np.array(other, dtype=np.uint64))
    return {int(value) for value in common if value != NOTHING}
