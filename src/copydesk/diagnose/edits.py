"""What an edit changed, word by word."""

from dataclasses import dataclass
from functools import cached_property

from rapidfuzz.distance import Levenshtein

from copydesk.data.words import split_words


@dataclass(frozen=True)
class ChangedSpan:
    """Neighbouring words that were changed: `before[start:end]` became `after[to_start:to_end]`; one may be empty."""

    start: int
    end: int
    to_start: int
    to_end: int


@dataclass(frozen=True)
class EditAlignment:
    """One edit as words (`copydesk.data.words`).

    Attributes:
        before: the words of the response.
        after: the words of the edit.
        spans: what differs, in order, with at least one kept word between two of them.
        positions: for each single operation (a word substituted, deleted or inserted) the word of the response at which
            it was done; what was added at the very end is at `len(before)`.
        kept: words of the response that are in the edit, in their order.
    """

    before: list[str]
    after: list[str]
    spans: list[ChangedSpan]
    positions: list[int]
    kept: int

    @cached_property
    def distance(self) -> int:
        """The Levenshtein distance in words."""
        return len(self.positions)


def align_edit(response: str, edit: str) -> EditAlignment:
    """Align a response with its edit (Levenshtein, over words)."""
    before, after = split_words(response), split_words(edit)
    runs: list[ChangedSpan] = []
    places: list[int] = []
    kept, joined = 0, False
    for step in Levenshtein.opcodes(before, after):
        start, end, to_start, to_end = step.src_start, step.src_end, step.dest_start, step.dest_end
        if step.tag == "equal":
            kept, joined = kept + end - start, False
            continue
        places += range(start, end) if end > start else [start] * (to_end - to_start)
        if joined:
            runs[-1] = ChangedSpan(runs[-1].start, end, runs[-1].to_start, to_end)
        else:
            runs.append(ChangedSpan(start, end, to_start, to_end))
        joined = True
    return EditAlignment(before, after, runs, places, kept)
