"""How edit costs are distributed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from copydesk.data.summary import CostSummary

HISTOGRAM_BINS = 20


@dataclass(frozen=True)
class CostDistribution:
    """The costs of the rows whose edit is known.

    Attributes:
        metric: what was measured, as `EditCost.name`.
        mean: their mean; `None` where no edit is known.
        median: their median, likewise.
        quantiles: (level, cost), as in `CostSummary`.
        edges: of the bars of a histogram, one more than bars; the last bar holds all that is above it too.
        bars: rows in each.
    """

    metric: str
    mean: float | None
    median: float | None
    quantiles: tuple[tuple[float, float], ...]
    edges: tuple[float, ...]
    bars: tuple[int, ...]


def compute_cost_distribution(metric: str, summary: CostSummary, costs: NDArray[np.float64]) -> CostDistribution:
    """The distribution of costs; `summary` is of the same rows."""
    edges, bars = [], []
    if len(costs):
        # A few rewrites of short texts cost many times 1 and would squeeze all others into one bar.
        top = float(np.quantile(costs, 0.99)) or 1.0
        counted, bounds = np.histogram(np.minimum(costs, top), bins=HISTOGRAM_BINS, range=(0, top))
        edges, bars = bounds.tolist(), counted.tolist()
    return CostDistribution(metric, summary.mean, summary.median, summary.quantiles, tuple(edges), tuple(bars))


def get_quantile(costs: CostDistribution, level: float) -> float:
    """A quantile that the summary has; 0 where there are none."""
    return dict(costs.quantiles).get(level, 0.0)
