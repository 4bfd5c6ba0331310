"""What an edit changed, word by word.

The commonest edits: which words become which.

Where in the text people edit.

Whether people edit the same thing alike: how often a common rewrite is done where it could be.
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
    """Neighbouring words that were changed: `before[start:end]` became `after[to_start:to_end]`; one may be empty."""

    start: int
    end: int
    to_start: int
    to_end: int


@dataclass(frozen=True)
class EditAlignment:
    """One edit as words (`copydesk.data.cost`).

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


MAX_REWRITE_WORDS = 6
"""Words on either side of a rewrite; a longer one is writing anew, which seldom happens twice alike."""

MAX_REWRITES_KEPT = 20_000
MAX_REWRITES_SHOWN = 20
_MAX_USERS = 100  # what is told apart; a rewrite that so many people make needs no exact number

RewritePair = tuple[str, str]
"""Words of the response and what they became, each joined by spaces; the first is empty for an insertion."""


@dataclass(frozen=True)
class Rewrite:
    """One rewrite.

    Attributes:
        before: words of the response; empty for an insertion.
        after: what they became; empty for a deletion.
        count: how often it was done.
        rows: in how many rows.
        users: by how many users, 100 at most; 0 where no row names one.
        row: the number of a row that has it, from 1.
        example: the words around it there, before and after.
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
        commonest: of those done at least twice, the 20 commonest.
        changes: runs of changed words in all.
        long: how many of them have more than 6 words on a side, and are not grouped.
        exact: whether the counts are exact. Of more different rewrites than fit, the rarest were forgotten, and a
            rewrite that became common later lacks what it had been counted before.
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
    users: "array[int]" = field(default_factory=lambda: array("I"))  # a set takes twenty times as much


class RewriteAccumulator:
    """Counts rewrites; never more than 40,000 different ones are held."""

    def __init__(self, kept: int = MAX_REWRITES_KEPT) -> None:
        self._kept = kept
        self._seen: dict[RewritePair, _RewriteCounts] = {}
        self._changes = self._long = 0
        self._exact = True
        self._users: dict[str, int] = {}

    def add(self, number: int, change: EditAlignment, user: str | None) -> None:
        """Count the rewrites of one edit; `number` is the row's, from 1."""
        who = None if user is None else self._users.setdefault(user, len(self._users))
        for run in change.spans:
            self._changes += 1
            found = extract_rewrite(change, run)
            if found is None:
                self._long += 1
                continue
            seen = self._seen.get(found)
            if seen is None:
                seen = self._seen[found] = _RewriteCounts(number, _with_context(change, run))
            seen.count += 1
            seen.rows += seen.last != number
            seen.last = number
            if who is not None and len(seen.users) < _MAX_USERS and who not in seen.users:
                seen.users.append(who)
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


def extract_rewrite(change: EditAlignment, run: ChangedSpan) -> RewritePair | None:
    """What became what in a run of changed words; `None` where either side is too long to group."""
    if run.end - run.start > MAX_REWRITE_WORDS or run.to_end - run.to_start > MAX_REWRITE_WORDS:
        return None
    return " ".join(change.before[run.start : run.end]), " ".join(change.after[run.to_start : run.to_end])


def _with_context(change: EditAlignment, run: ChangedSpan) -> tuple[str, str]:
    """The run with up to three words on either side, before and after."""
    return (
        " ".join(change.before[max(0, run.start - 3) : run.end + 3]),
        " ".join(change.after[max(0, run.to_start - 3) : run.to_end + 3]),
    )


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


MIN_COMMON_COUNT = 3
"""How often a rewrite must have been done to be called common; once or twice may be chance."""

MAX_APPLICATIONS = 20
_MAX_PHRASES = 500
_RESAMPLES = 400


@dataclass(frozen=True)
class RewriteApplication:
    """How regularly one rewrite is done.

    Attributes:
        before: words of the response.
        after: what they became most often.
        applied: how often they became that.
        changed: how often they became anything.
        occurred: how often they stood in a response, edited or accepted.
    """

    before: str
    after: str
    applied: int
    changed: int
    occurred: int

    @property
    def rate(self) -> float:
        """The application rate."""
        return self.applied / self.occurred


@dataclass(frozen=True)
class EditConsistency:
    """How alike people edit.

    Attributes:
        rows: of the sample that was looked at.
        mean: a, the mean application rate of the commonest rewrite of each phrase, weighted by how often the phrase
            was changed; `None` where no rewrite is common.
        low: where its 95% interval begins (bootstrap over rows).
        high: where it ends.
        covered: the share of all changes that are common rewrites: how much of what people do `mean` speaks of.
        distinct: how many common rewrites there are, insertions and deletions too.
        vocabulary: different words in the sample.
        applications: of the phrases most often changed.
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
    """Measure how regularly common rewrites are done.

    a = Σ_f m_f · k_f / n_f / Σ_f m_f over the phrases f with a common rewrite, where n_f counts f in the responses,
    m_f how often it was changed, and k_f how often it became what it became most often.

    A taste that depends on the kind of text is done in that kind only, so that a is rather too low than too high.

    Args:
        changes: of edited and accepted rows.
        seed: of the bootstrap.
    """
    found = [_rewrite_pairs(change) for change in changes]
    counts = Counter(one for own in found for one in own)
    common = {one: count for one, count in counts.items() if count >= MIN_COMMON_COUNT}
    total = sum(len(change.spans) for change in changes)
    covered = sum(common.values()) / total if total else 0.0
    vocabulary = len({word for change in changes for word in (*change.before, *change.after)})
    best: dict[str, tuple[int, str]] = {}
    for (before, after), count in common.items():
        if before and count > best.get(before, (0, ""))[0]:
            best[before] = count, after
    changed_in_all = Counter(before for own in found for before, _ in own if before in best)
    phrases = [phrase for phrase, _ in changed_in_all.most_common(_MAX_PHRASES)]
    if not phrases:
        return EditConsistency(len(changes), None, None, None, covered, len(common), vocabulary, ())
    place = {phrase: number for number, phrase in enumerate(phrases)}
    # applied, changed and occurred, in each row, of each phrase
    table = np.zeros((3, len(changes), len(phrases)), dtype=np.float32)
    lengths = {phrase.count(" ") + 1 for phrase in phrases}
    for row, (change, own) in enumerate(zip(changes, found, strict=True)):
        for phrase in _find_phrases(change.before, lengths):
            if phrase in place:
                table[2, row, place[phrase]] += 1
        for before, after in own:
            if before in place:
                table[1, row, place[before]] += 1
                table[0, row, place[before]] += after == best[before][1]
    sums = table.sum(axis=1, dtype=np.float64)
    mean = float(_mean_rate(sums[:, None, :])[0])
    low, high = _bootstrap_interval(table, mean, seed)
    applications = [
        RewriteApplication(phrase, best[phrase][1], *(int(sums[figure, place[phrase]]) for figure in range(3)))
        for phrase in phrases[:MAX_APPLICATIONS]
    ]
    return EditConsistency(len(changes), mean, low, high, covered, len(common), vocabulary, tuple(applications))


def _rewrite_pairs(change: EditAlignment) -> list[tuple[str, str]]:
    return [found for run in change.spans if (found := extract_rewrite(change, run)) is not None]


def _find_phrases(words: list[str], lengths: set[int]) -> list[str]:
    return [
        " ".join(words[start : start + length])
        for length in lengths
        if length <= MAX_REWRITE_WORDS
        for start in range(len(words) - length + 1)
    ]


def _mean_rate(sums: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """a for each resample, from applied, changed and occurred, shape [3, resamples, phrases]."""
    applied, changed, occurred = sums
    rates = applied / np.maximum(occurred, 1)
    mean: NDArray[np.floating[Any]] = (changed * rates).sum(axis=-1) / np.maximum(changed.sum(axis=-1), 1)
    return mean


def _bootstrap_interval(table: NDArray[np.floating[Any]], mean: float, seed: int) -> tuple[float, float]:
    """The basic bootstrap interval (Davison & Hinkley, *Bootstrap Methods*, 1997, section 5.2), within 0 and 1.

    Where a phrase is rare, resamples lean towards larger means than the sample's own. This one leans back.
    """
    rows = table.shape[1]
    luck = np.random.default_rng(seed)
    weights = luck.multinomial(rows, np.full(rows, 1 / rows), size=_RESAMPLES).astype(np.float32)
    means = _mean_rate(np.stack([weights @ figure for figure in table]).astype(np.float64))
    low, high = np.quantile(means, [0.025, 0.975])
    return max(0.0, min(mean, 2 * mean - float(high))), min(1.0, max(mean, 2 * mean - float(low)))
