"""How good the edits are to learn from: how much they keep, how alike they are, and whether one edit is enough."""

from collections.abc import Iterable
from dataclasses import dataclass

from copydesk.diagnose.consistency import EditConsistency
from copydesk.diagnose.edits import EditAlignment

NEAR_COST, NEAR_WORDS = 0.05, 2
"""An edited row is near-identical when it costs at most so much, or when at most so many words were changed."""


@dataclass(frozen=True)
class RepeatedEdits:
    """Texts that were edited once more.

    Attributes:
        rows: how many there are.
        first: the mean cost of their first edit.
        second: the mean cost of their second.
        left: r = second/first, the share of what there was to mend that one edit leaves; `None` where `first` is 0.
    """

    rows: int
    first: float
    second: float
    left: float | None


@dataclass(frozen=True)
class EditQuality:
    """The quality of the edits.

    Attributes:
        kept: of an edited response, the share of words that is left, on average; `None` where nothing was edited.
        near_identical: the share of edited rows that differ by next to nothing; 0 where nothing was edited.
        consistency: how alike people edit.
        edited_again: `None` where the log has no such rows.
    """

    kept: float | None
    near_identical: float
    consistency: EditConsistency
    edited_again: RepeatedEdits | None


class EditQualityAccumulator:
    """Adds up how much edits keep, and how many keep nearly all."""

    def __init__(self) -> None:
        self._kept = 0.0
        self._rows = self._near = 0

    def add(self, change: EditAlignment, cost: float) -> None:
        """Add one edited row."""
        self._rows += 1
        self._kept += change.kept / max(1, len(change.before))
        self._near += cost <= NEAR_COST or change.distance <= NEAR_WORDS

    @property
    def kept_share(self) -> float | None:
        """The mean share of words kept."""
        return self._kept / self._rows if self._rows else None

    @property
    def near_identical_share(self) -> float:
        """The share of near-identical rows."""
        return self._near / self._rows if self._rows else 0.0


def measure_repeated_edits(pairs: Iterable[tuple[float, float]]) -> RepeatedEdits | None:
    """What second edits cost beside the first, from the costs of both."""
    rows, first, second = 0, 0.0, 0.0
    for one, two in pairs:
        rows, first, second = rows + 1, first + one, second + two
    if not rows:
        return None
    return RepeatedEdits(rows, first / rows, second / rows, second / first if first > 0 else None)
