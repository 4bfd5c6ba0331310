"""The Levenshtein distances of many pairs at once."""

from collections.abc import Hashable, Sequence

from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cpdist

_MIN_PAIRS_FOR_THREADS = 32  # pairs that are done before threads for them are started


def compute_edit_distances(before: Sequence[Sequence[Hashable]], after: Sequence[Sequence[Hashable]]) -> list[int]:
    """How many units must be inserted, deleted or replaced to turn each `before` into its `after`, in their order.

    The distances are exact, whatever their size; all cores work on them.

    Args:
        before: sequences of units, such as lists of token ids or of words; a text is a sequence of its characters.
        after: as many sequences.
    """
    workers = 1 if len(before) <= _MIN_PAIRS_FOR_THREADS else -1
    found: list[int] = cpdist(before, after, scorer=Levenshtein.distance, workers=workers).tolist()
    return found
