"""Where in the text people edit."""

from dataclasses import dataclass

from copydesk.diagnose.edits import EditAlignment

TENTHS = 10

_TEXT_PARTS = {"the beginning": range(0, 3), "the middle": range(3, 7), "the end": range(7, 10)}
_MIN_CONCENTRATION = 1.25  # how much more than its share of the text a part must have to be named


@dataclass(frozen=True)
class EditPosition:
    """How edits are spread over the response.

    Attributes:
        shares: of all words changed, those in each tenth of the response's length; they sum to 1. Empty where no word
            was changed.
        words: words changed (substituted, deleted or inserted).
        sentence: the same in words.
    """

    shares: tuple[float, ...]
    words: int
    sentence: str


class EditPositionAccumulator:
    """Adds up where the edits of the rows are."""

    def __init__(self) -> None:
        self._changed = [0] * TENTHS

    def add(self, change: EditAlignment) -> None:
        """Add one edit. What is written into an empty response is in the first tenth."""
        length = max(1, len(change.before))
        for place in change.positions:
            self._changed[min(TENTHS - 1, TENTHS * place // length)] += 1

    def result(self) -> EditPosition:
        """Where the edits so far are."""
        total = sum(self._changed)
        if not total:
            return EditPosition((), 0, "No words were changed.")
        shares = tuple(changed / total for changed in self._changed)
        return EditPosition(shares, total, _describe_positions(shares))


def _describe_positions(shares: tuple[float, ...]) -> str:
    held = {part: sum(shares[tenth] for tenth in tenths) for part, tenths in _TEXT_PARTS.items()}
    densest = max(_TEXT_PARTS, key=lambda part: held[part] / len(_TEXT_PARTS[part]))
    share, size = held[densest], len(_TEXT_PARTS[densest]) / TENTHS
    if share < _MIN_CONCENTRATION * size:
        return "People edit all over the text: no part has many more changes than its length."
    return f"People edit {densest} most: {share:.0%} of the changes are in that {size:.0%} of the text."
