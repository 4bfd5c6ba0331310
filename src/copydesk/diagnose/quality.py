"""Measures how good edits are to learn from, and how well the reference policy covers them.

Quality is how much of a response edits keep, how many are near-identical, and what a second edit costs beside the
first. Coverage, which learning from preferences needs, is how likely the reference policy is to write the edits.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from copydesk.diagnose.edits import EditAlignment, EditConsistency

NEAR_COST, NEAR_WORDS = 0.05, 2
"""An edited row is near-identical if it costs at most `NEAR_COST` or changes at most `NEAR_WORDS` words."""


@dataclass(frozen=True)
class RepeatedEdits:
    """Texts that were edited a second time.

    Attributes:
        rows: number of such texts.
        first: mean cost of their first edit.
        second: mean cost of their second edit.
        left: r = second/first, the share left to fix after one edit; `None` where `first` is 0.
    """

    rows: int
    first: float
    second: float
    left: float | None


@dataclass(frozen=True)
class EditQuality:
    """How good the edits of a log are to learn from.

    Attributes:
        kept: mean share of an edited response's words that are still in the edit; `None` where nothing was edited.
        near_identical: share of edited rows whose edit changes almost nothing; 0 where nothing was edited.
        consistency: how regularly common rewrites are made.
        edited_again: texts edited a second time; `None` where there are none.
    """

    kept: float | None
    near_identical: float
    consistency: EditConsistency
    edited_again: RepeatedEdits | None


class EditQualityAccumulator:
    """Accumulates the share of words kept and the number of near-identical edits."""

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
        """Mean share of words kept."""
        return self._kept / self._rows if self._rows else None

    @property
    def near_identical_share(self) -> float:
        """Share of near-identical rows."""
        return self._near / self._rows if self._rows else 0.0


def measure_repeated_edits(pairs: Iterable[tuple[float, float]]) -> RepeatedEdits | None:
    """Compare second edits with first ones, given the costs (first, second) of each text; `None` without any."""
    rows, first, second = 0, 0.0, 0.0
    for one, two in pairs:
        rows, first, second = rows + 1, first + one, second + two
    if not rows:
        return None
    return RepeatedEdits(rows, first / rows, second / rows, second / first if first > 0 else None)


_Floats = NDArray[np.float64]

RARE_QUANTILE = 0.01
"""An edit is rare if its log-probability per token is below this quantile of the responses'."""

_MIN_T_STATISTIC = 3.0  # above this, the responses are attributed to another model


@dataclass(frozen=True)
class ReferenceScores:
    """Log-probabilities of a sample under the reference, in nats.

    Attributes:
        edit: log π_ref(y'|x) of each edited row, shape [n].
        response: log π_ref(y|x), shape [n].
        edit_tokens: tokens of y', including the end of the turn, shape [n].
        response_tokens: tokens of y, including the end of the turn, shape [n].
        own_per_token: log π_ref per token of responses that the reference itself generated for some of the contexts,
            shape [m]; empty without any.
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
    """How likely the edits are under the reference policy, over a sample of edited rows; log-probabilities in nats.

    Attributes:
        model: name of the reference.
        rows: rows of the sample.
        cut: rows too long for the model, which were scored in part.
        edit: mean log π_ref(y'|x).
        response: mean log π_ref(y|x).
        edit_per_token: mean over rows of log π_ref(y'|x) per token.
        response_per_token: mean over rows of log π_ref(y|x) per token.
        margin: mean of log π_ref(y'|x) − log π_ref(y|x).
        margin_scale: median of |log π_ref(y'|x) − log π_ref(y|x)|.
        rare: share of y' whose log π_ref per token is below the 1st percentile of that of the y.
        ess: effective sample size of weights w = min(1, π_ref(y'|x)/π_ref(y|x)), (Σw)²/Σw², as a share of rows.
        overlap: mean over rows of min(1, (π_ref(y'|x)^(1/|y'|)) / (π_ref(y|x)^(1/|y|))). Unlike `ess` it falls when
            all edits are equally unlikely.
        own_per_token: mean log π_ref per token of responses that the reference generated; `None` without any.
        foreign: whether y is so much less likely than those that another model must have written it.
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

    The effective sample size is Kish's (*Survey Sampling*, 1965). Weights are clipped at 1, or a single edit that is
    likelier than its response would outweigh all others.
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
    """Effective sample size (Σw)²/Σw² as a share of the n weights, from their logarithms; between 1/n and 1."""
    logs = np.asarray(log_weights, dtype=np.float64)
    weights = np.exp(logs - logs.max())  # the largest is 1, so they cannot all underflow
    return float(weights.sum() ** 2 / (weights @ weights) / len(weights))


def _is_below(found: _Floats, own: _Floats) -> bool:
    """Whether the mean of `found` is significantly lower than that of `own` (Welch's t)."""
    if len(found) < 2 or len(own) < 2:
        return False
    error = np.sqrt(found.var(ddof=1) / len(found) + own.var(ddof=1) / len(own))
    return bool(own.mean() - found.mean() > _MIN_T_STATISTIC * error)
