"""How good the edits are to learn from: how much they keep, how alike they are, and whether one edit is enough.

Whether the reference policy would write what people wrote: the coverage that learning from preference needs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from copydesk.diagnose.edits import EditAlignment, EditConsistency

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


_Floats = NDArray[np.float64]

RARE_QUANTILE = 0.01
"""An edit is one the reference would hardly ever write when it is less likely, per token, than 99% of responses are."""

_MIN_T_STATISTIC = 3.0  # standard errors between the responses and the model's own before they are called another's


@dataclass(frozen=True)
class ReferenceScores:
    """Log-probabilities of a sample under the reference, in nats.

    Attributes:
        edit: log π_ref(y'|x) of each edited row, shape [n].
        response: log π_ref(y|x), shape [n].
        edit_tokens: tokens of y', the end of the turn included, shape [n].
        response_tokens: tokens of y, likewise.
        own_per_token: log π_ref per token of responses that the reference has just written to some of the contexts,
            shape [m]; empty where it was not asked.
        truncated: rows that were too long for the model and were scored in part.
    """

    edit: _Floats
    response: _Floats
    edit_tokens: _Floats
    response_tokens: _Floats
    own_per_token: _Floats
    truncated: int = 0


@dataclass(frozen=True)
class Coverage:
    """What the reference policy makes of the edits; means over a sample of edited rows, in nats.

    Attributes:
        model: the reference, as it was named.
        rows: of the sample.
        cut: of them, those too long for the model, which were scored in part.
        edit: mean log π_ref(y'|x).
        response: mean log π_ref(y|x).
        edit_per_token: mean over rows of log π_ref(y'|x) per token.
        response_per_token: the same of y.
        margin: mean of log π_ref(y'|x) − log π_ref(y|x).
        margin_scale: the median of its absolute value.
        rare: the share of y' whose log π_ref per token is below the 1st percentile of that of the y.
        ess: the effective sample size of weights w = min(1, π_ref(y'|x)/π_ref(y|x)), (Σw)²/Σw², as a share of rows.
        overlap: the mean over rows of min(1, (π_ref(y'|x)^(1/|y'|)) / (π_ref(y|x)^(1/|y|))): the same per token,
            and not made up for where all edits are unlikely alike.
        own_per_token: mean log π_ref per token of what the reference writes itself; `None` where it was not asked.
        foreign: whether the y are so unlikely beside that that another model must have written them.
    """

    model: str
    rows: int
    cut: int
    edit: float
    response: float
    edit_per_token: float
    response_per_token: float
    margin: float
    margin_scale: float
    rare: float
    ess: float
    overlap: float
    own_per_token: float | None
    foreign: bool


def measure_coverage(model: str, scores: ReferenceScores) -> Coverage:
    """Measure the coverage of a model from its scores of at least one edited row.

    An effective sample size is Kish's (*Survey Sampling*, 1965). Without the bound of 1 a single edit that is likelier
    than its response would outweigh all others.
    """
    edit, response = scores.edit / scores.edit_tokens, scores.response / scores.response_tokens
    margin = scores.edit - scores.response
    own = float(scores.own_per_token.mean()) if len(scores.own_per_token) else None
    return Coverage(
        model=model,
        rows=len(margin),
        cut=scores.truncated,
        edit=float(scores.edit.mean()),
        response=float(scores.response.mean()),
        edit_per_token=float(edit.mean()),
        response_per_token=float(response.mean()),
        margin=float(margin.mean()),
        margin_scale=float(np.median(np.abs(margin))),
        rare=float((edit < np.quantile(response, RARE_QUANTILE)).mean()),
        ess=compute_effective_share(np.minimum(margin, 0.0)),
        overlap=float(np.exp(np.minimum(edit - response, 0.0)).mean()),
        own_per_token=own,
        foreign=own is not None and _is_below(response, scores.own_per_token),
    )


def compute_effective_share(log_weights: ArrayLike) -> float:
    """(Σw)²/Σw² divided by the number of weights, from their logarithms; between 1/n and 1."""
    logs = np.asarray(log_weights, dtype=np.float64)
    weights = np.exp(logs - logs.max())  # the largest is 1, so that not all can vanish
    return float(weights.sum() ** 2 / (weights @ weights) / len(weights))


def _is_below(found: _Floats, own: _Floats) -> bool:
    """Whether the mean of `found` is lower than that of `own` beyond doubt (Welch's t)."""
    if len(found) < 2 or len(own) < 2:
        return False
    error = np.sqrt(found.var(ddof=1) / len(found) + own.var(ddof=1) / len(own))
    return bool(own.mean() - found.mean() > _MIN_T_STATISTIC * error)
