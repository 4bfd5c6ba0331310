"""Word-level analysis of edits: alignment, the commonest rewrites, position in the text, and consistency.

Consistency is how often a common rewrite is made where it could be made.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from copydesk.data.cost import split_words


@dataclass(frozen=True)
class ChangedSpan:
    """A run of changed words: `before[start:end]` became `after[to_start:to_end]`; one of the two may be empty."""

    start: int
    end: int
    to_start: int
    to_end: int


@dataclass(frozen=True)
class EditAlignment:
    """The alignment of a response with its edit, in words (`copydesk.data.cost.split_words`).

    Attributes:
        before: words of the response.
        after: words of the edit.
        spans: changed spans in order, with at least one kept word between two of them.
        positions: index in `before` of each single operation (a word substituted, deleted or inserted); `len(before)`
            for an insertion at the end.
        kept: number of words of the response that are kept, in order.
    """

    before: list[str]
    after: list[str]
    spans: list[ChangedSpan]
    positions: list[int]
    kept: int

    @cached_property
    def distance(self) -> int:
        """Levenshtein distance in words."""
        return len(self.positions)


def align_edit(response: str, edit: str) -> EditAlignment:
    """Align a response with its edit (Levenshtein, over words)."""
    before, after = split_words(response), split_words(edit)
    spans: list[ChangedSpan] = []
    positions: list[int] = []
    kept, adjacent = 0, False
    for step in Levenshtein.opcodes(before, after):
        start, end, to_start, to_end = step.src_start, step.src_end, step.dest_start, step.dest_end
        if step.tag == "equal":
            kept, adjacent = kept + end - start, False
            continue
        positions += range(start, end) if end > start else [start] * (to_end - to_start)
        if adjacent:
            spans[-1] = ChangedSpan(spans[-1].start, end, spans[-1].to_start, to_end)
        else:
            spans.append(ChangedSpan(start, end, to_start, to_end))
        adjacent = True
    return EditAlignment(before, after, spans, positions, kept)


MAX_REWRITE_WORDS = 6
"""Most words on either side of a rewrite; longer ones hardly ever repeat."""

MAX_REWRITES_KEPT = 20_000
MAX_REWRITES_SHOWN = 20
_MAX_USERS = 100  # users counted for each rewrite; beyond that the exact number does not matter

RewritePair = tuple[str, str]
"""Words of the response and what they became, each joined by spaces; the first is empty for an insertion."""


@dataclass(frozen=True)
class Rewrite:
    """A rewrite with its counts and an example.

    Attributes:
        before: words of the response; empty for an insertion.
        after: what they became; empty for a deletion.
        count: how often it was made.
        rows: number of rows that have it.
        users: number of users who made it, counted up to 100; 0 where no row names a user.
        row: number of the example's row, from 1.
        example: the rewrite with the words around it, before and after.
    """

    before: str
    after: str
    count: int
    rows: int
    users: int
    row: int
    example: tuple[str, str]


@dataclass(frozen=True)
class RewriteSummary:
    """The rewrites of a log.

    Attributes:
        commonest: the 20 commonest of those made at least twice.
        changes: number of changed spans.
        long: number of changed spans with more than 6 words on a side, which are not grouped.
        exact: whether the counts are exact. If there are too many different rewrites, the rarest are dropped, and a
            rewrite that becomes common later lacks its earlier counts.
    """

    commonest: tuple[Rewrite, ...]
    changes: int
    long: int
    exact: bool


@dataclass
class _RewriteCounts:
    row: int
    example: tuple[str, str]
    count: int = 0
    rows: int = 0
    last: int = 0
    users: "array[int]" = field(default_factory=lambda: array("I"))  # a set takes twenty times as much memory


class RewriteAccumulator:
    """Counts rewrites; holds at most 40,000 different ones."""

    def __init__(self, kept: int = MAX_REWRITES_KEPT) -> None:
        self._kept = kept
        self._seen: dict[RewritePair, _RewriteCounts] = {}
        self._changes = self._long = 0
        self._exact = True
        self._users: dict[str, int] = {}

    def add(self, number: int, change: EditAlignment, user: str | None) -> None:
        """Count the rewrites of one edit; `number` is the row's, from 1."""
        user_index = None if user is None else self._users.setdefault(user, len(self._users))
        for span in change.spans:
            self._changes += 1
            found = extract_rewrite(change, span)
            if found is None:
                self._long += 1
                continue
            seen = self._seen.get(found)
            if seen is None:
                seen = self._seen[found] = _RewriteCounts(number, _with_context(change, span))
            seen.count += 1
            seen.rows += seen.last != number
            seen.last = number
            if user_index is not None and len(seen.users) < _MAX_USERS and user_index not in seen.users:
                seen.users.append(user_index)
        if len(self._seen) > 2 * self._kept:
            self._prune()

    def _prune(self) -> None:
        commonest = sorted(self._seen, key=lambda found: -self._seen[found].count)[: self._kept]
        self._seen = {found: self._seen[found] for found in commonest}
        self._exact = False

    def result(self) -> RewriteSummary:
        """The rewrites so far."""
        often = sorted((item for item in self._seen.items() if item[1].count > 1), key=lambda item: -item[1].count)
        commonest = [
            Rewrite(before, after, seen.count, seen.rows, len(seen.users), seen.row, seen.example)
            for (before, after), seen in often[:MAX_REWRITES_SHOWN]
        ]
        return RewriteSummary(tuple(commonest), self._changes, self._long, self._exact)


def extract_rewrite(change: EditAlignment, span: ChangedSpan) -> RewritePair | None:
    """The rewrite of a changed span; `None` where either side is too long to group."""
    if span.end - span.start > MAX_REWRITE_WORDS or span.to_end - span.to_start > MAX_REWRITE_WORDS:
        return None
    return " ".join(change.before[span.start : span.end]), " ".join(change.after[span.to_start : span.to_end])


def _with_context(change: EditAlignment, span: ChangedSpan) -> tuple[str, str]:
    """The span with up to three words on either side, before and after."""
    return (
        " ".join(change.before[max(0, span.start - 3) : span.end + 3]),
        " ".join(change.after[max(0, span.to_start - 3) : span.to_end + 3]),
    )


TENTHS = 10

_TEXT_PARTS = {"the beginning": range(0, 3), "the middle": range(3, 7), "the end": range(7, 10)}
_MIN_CONCENTRATION = 1.25  # a part is named if it has this many times the changes that its length would give it


@dataclass(frozen=True)
class EditPosition:
    """Distribution of edits over the length of the response.

    Attributes:
        shares: share of the changed words in each tenth of the response; they sum to 1. Empty where no word changed.
        words: number of words changed (substituted, deleted or inserted).
        sentence: summary in one sentence.
    """

    shares: tuple[float, ...]
    words: int
    sentence: str


class EditPositionAccumulator:
    """Accumulates the positions of edits."""

    def __init__(self) -> None:
        self._changed = [0] * TENTHS

    def add(self, change: EditAlignment) -> None:
        """Add one edit. Words inserted into an empty response count in the first tenth."""
        length = max(1, len(change.before))
        for place in change.positions:
            self._changed[min(TENTHS - 1, TENTHS * place // length)] += 1

    def result(self) -> EditPosition:
        """The distribution so far."""
        total = sum(self._changed)
        if not total:
            return EditPosition((), 0, "No words were changed.")
        shares = tuple(changed / total for changed in self._changed)
        return EditPosition(shares, total, _describe_positions(shares))


def _describe_positions(shares: tuple[float, ...]) -> str:
    part_shares = {part: sum(shares[tenth] for tenth in tenths) for part, tenths in _TEXT_PARTS.items()}
    densest = max(_TEXT_PARTS, key=lambda part: part_shares[part] / len(_TEXT_PARTS[part]))
    share, size = part_shares[densest], len(_TEXT_PARTS[densest]) / TENTHS
    if share < _MIN_CONCENTRATION * size:
        return "People edit all over the text: no part has many more changes than its length would give it."
    return f"People edit {densest} most: {share:.0%} of the changes are in that {size:.0%} of the text."


MIN_COMMON_COUNT = 3
"""A rewrite made at least this often is common; once or twice may be chance."""

MAX_APPLICATIONS = 20
_MAX_PHRASES = 500
_RESAMPLES = 400


@dataclass(frozen=True)
class RewriteApplication:
    """How regularly one rewrite is made.

    Attributes:
        before: words of the response.
        after: what they became most often.
        applied: how often they became `after`.
        changed: how often they were changed to anything.
        occurred: how often they occurred in a response, edited or accepted.
    """

    before: str
    after: str
    applied: int
    changed: int
    occurred: int

    @property
    def rate(self) -> float:
        """Application rate."""
        return self.applied / self.occurred


@dataclass(frozen=True)
class EditConsistency:
    """How regularly common rewrites are made.

    Attributes:
        rows: rows of the sample.
        mean: a, the mean application rate of the commonest rewrite of each phrase, weighted by how often the phrase
            was changed; `None` where no rewrite is common.
        low: lower end of its 95% interval (bootstrap over rows).
        high: upper end.
        covered: share of all changes that are common rewrites, which are all that `mean` describes.
        distinct: number of common rewrites, including insertions and deletions.
        vocabulary: number of different words in the sample.
        applications: the phrases most often changed.
    """

    rows: int
    mean: float | None
    low: float | None
    high: float | None
    covered: float
    distinct: int
    vocabulary: int
    applications: tuple[RewriteApplication, ...]


def measure_consistency(changes: Sequence[EditAlignment], seed: int = 0) -> EditConsistency:
    """Measure how regularly common rewrites are made.

    a = Σ_f m_f · k_f / n_f / Σ_f m_f over the phrases f with a common rewrite, where n_f counts f in the responses,
    m_f how often it was changed, and k_f how often it got its commonest replacement.

    A preference that applies to one kind of text only is followed in that kind only, so a tends to be too low.

    Args:
        changes: alignments of edited and accepted rows.
        seed: seed of the bootstrap.
    """
    row_rewrites = [_rewrite_pairs(change) for change in changes]
    counts = Counter(pair for pairs in row_rewrites for pair in pairs)
    common = {pair: count for pair, count in counts.items() if count >= MIN_COMMON_COUNT}
    total = sum(len(change.spans) for change in changes)
    covered = sum(common.values()) / total if total else 0.0
    vocabulary = len({word for change in changes for word in (*change.before, *change.after)})
    best: dict[str, tuple[int, str]] = {}
    for (before, after), count in common.items():
        if before and count > best.get(before, (0, ""))[0]:
            best[before] = count, after
    change_counts = Counter(before for pairs in row_rewrites for before, _ in pairs if before in best)
    phrases = [phrase for phrase, _ in change_counts.most_common(_MAX_PHRASES)]
    if not phrases:
        return EditConsistency(len(changes), None, None, None, covered, len(common), vocabulary, ())
    index = {phrase: number for number, phrase in enumerate(phrases)}
    # (applied, changed, occurred) of each row and phrase
    table = np.zeros((3, len(changes), len(phrases)), dtype=np.float32)
    lengths = {phrase.count(" ") + 1 for phrase in phrases}
    for row, (change, pairs) in enumerate(zip(changes, row_rewrites, strict=True)):
        for phrase in _find_phrases(change.before, lengths):
            if phrase in index:
                table[2, row, index[phrase]] += 1
        for before, after in pairs:
            if before in index:
                table[1, row, index[before]] += 1
                table[0, row, index[before]] += after == best[before][1]
    sums = table.sum(axis=1, dtype=np.float64)
    mean = float(_mean_rate(sums[:, None, :])[0])
    low, high = _bootstrap_interval(table, mean, seed)
    applications = [
        RewriteApplication(phrase, best[phrase][1], *(int(sums[figure, index[phrase]]) for figure in range(3)))
        for phrase in phrases[:MAX_APPLICATIONS]
    ]
    return EditConsistency(len(changes), mean, low, high, covered, len(common), vocabulary, tuple(applications))


def _rewrite_pairs(change: EditAlignment) -> list[tuple[str, str]]:
    return [pair for span in change.spans if (pair := extract_rewrite(change, span)) is not None]


def _find_phrases(words: list[str], lengths: set[int]) -> list[str]:
    return [
        " ".join(words[start : start + length])
        for length in lengths
        if length <= MAX_REWRITE_WORDS
        for start in range(len(words) - length + 1)
    ]


def _mean_rate(sums: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """a of each resample, from (applied, changed, occurred), shape [3, resamples, phrases]."""
    applied, changed, occurred = sums
    rates = applied / np.maximum(occurred, 1)
    mean: NDArray[np.floating[Any]] = (changed * rates).sum(axis=-1) / np.maximum(changed.sum(axis=-1), 1)
    return mean


def _bootstrap_interval(table: NDArray[np.floating[Any]], mean: float, seed: int) -> tuple[float, float]:
    """The basic bootstrap interval (Davison & Hinkley, *Bootstrap Methods*, 1997, section 5.2), clipped to [0, 1].

    Where a phrase is rare, the means of resamples are biased upwards; the basic interval corrects for that.
    """
    rows = table.shape[1]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(rows, np.full(rows, 1 / rows), size=_RESAMPLES).astype(np.float32)
    means = _mean_rate(np.stack([weights @ figure for figure in table]).astype(np.float64))
    low, high = np.quantile(means, [0.025, 0.975])
    return max(0.0, min(mean, 2 * mean - float(high))), min(1.0, max(mean, 2 * mean - float(low)))
