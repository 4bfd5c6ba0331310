"""Whether people edit the same thing alike: how often a common rewrite is done where it could be."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copydesk.diagnose.edits import EditAlignment
from copydesk.diagnose.rewrites import MAX_REWRITE_WORDS, extract_rewrite

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
