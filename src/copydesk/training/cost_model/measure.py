"""How good predicted costs are, on rows that were not learnt from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def compute_prediction_metrics(predicted: ArrayLike, costs: ArrayLike, mean: float) -> dict[str, float]:
    """Measure predictions against costs, beside the predictor that always says the mean.

    Args:
        predicted: shape [n].
        costs: shape [n].
        mean: the mean cost of the rows that were learnt from.

    Returns:
        `mae` and `mae_mean`, the mean absolute error and that of the mean predictor; `bias`, the mean of prediction
        minus cost; `r2`, 1 less the squared error over the mean predictor's; and `rank_correlation`, Spearman's. The
        last two are left out where they are not defined, because all costs or all predictions are the same. Empty
        where there are no rows.
    """
    f, c = np.asarray(predicted, dtype=float), np.asarray(costs, dtype=float)
    if not len(c):
        return {}
    found = {
        "mae": float(np.abs(f - c).mean()),
        "mae_mean": float(np.abs(mean - c).mean()),
        "bias": float((f - c).mean()),
    }
    if total := float(((c - mean) ** 2).sum()):
        found["r2"] = 1 - float(((f - c) ** 2).sum()) / total
    if np.ptp(f) > 0 and np.ptp(c) > 0:
        found["rank_correlation"] = float(np.corrcoef(_compute_ranks(f), _compute_ranks(c))[0, 1])
    return found


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of like prediction: how many, their mean prediction, their mean cost, and that mean's standard error."""

    rows: int
    predicted: float
    cost: float
    error: float


def compute_calibration(predicted: ArrayLike, costs: ArrayLike, most: int = 10) -> list[CalibrationBin]:
    """Whether rows of which a cost is predicted have that cost on average.

    Args:
        predicted: shape [n].
        costs: shape [n].
        most: bins, of about as many rows each and at least five.

    Returns:
        The bins, from the least prediction to the largest.
    """
    f, c = np.asarray(predicted, dtype=float), np.asarray(costs, dtype=float)
    if not len(c):
        return []
    order = np.argsort(f, kind="stable")
    parts: Sequence[NDArray[np.intp]] = np.array_split(order, max(1, min(most, len(c) // 5)))
    return [
        CalibrationBin(
            rows=len(part),
            predicted=float(f[part].mean()),
            cost=float(c[part].mean()),
            error=float(c[part].std(ddof=1) / np.sqrt(len(part))) if len(part) > 1 else 0.0,
        )
        for part in parts
    ]


def _compute_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)
