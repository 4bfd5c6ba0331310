"""Whether edits cost more or less as time goes on."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DRIFT_SLICES = 10
_BLOCK_ROWS = 1 << 16
_NORMAL_QUANTILE = 1.959964  # 97.5% of a standard normal


@dataclass(frozen=True)
class Drift:
    """The mean cost over time.

    Attributes:
        by: what orders the rows: `created_at` where every row has it, else their order in the log.
        means: the mean cost of each of ten slices of as many rows.
        slope: by how much the cost changes from the first row to the last, on a straight line through all rows.
        low: where the 95% interval of the slope begins.
        high: where it ends.
        sentence: the same in words; empty where the interval holds 0.
    """

    by: Literal["created_at", "order"]
    means: tuple[float, ...]
    slope: float
    low: float
    high: float
    sentence: str


def measure_drift(costs: NDArray[np.float64], moments: NDArray[np.float64]) -> Drift | None:
    """The drift of costs; `None` for fewer than ten rows, which tell nothing.

    The slope is that of least squares on the rank of the row, from 0 to 1. Its standard error does not assume that
    costs spread alike everywhere (HC3: MacKinnon & White, J. Econometrics 29, 1985), but that rows are independent:
    where a user's rows follow each other it is too small.

    Args:
        costs: of the rows, shape [n].
        moments: in seconds, shape [n]; not a number where a row has none.
    """
    n = len(costs)
    if n < DRIFT_SLICES:
        return None
    timed = bool(np.isfinite(moments).all())
    ordered = costs[np.argsort(moments, kind="stable")] if timed else costs
    # In blocks, so that a long log takes no more memory than its costs.
    blocks = [slice(start, min(n, start + _BLOCK_ROWS)) for start in range(0, n, _BLOCK_ROWS)]
    square = sum(float(_centered_positions(block, n) @ _centered_positions(block, n)) for block in blocks)
    slope = sum(float(_centered_positions(block, n) @ ordered[block]) for block in blocks) / square
    mean, error = float(ordered.mean()), 0.0
    for block in blocks:
        here, cost = _centered_positions(block, n), ordered[block]
        leverage = 1 / n + here**2 / square
        residual = (cost - mean - slope * here) / (1 - leverage)
        error += float(here**2 @ residual**2)
    error = math.sqrt(error) / square
    low, high = slope - _NORMAL_QUANTILE * error, slope + _NORMAL_QUANTILE * error
    sentence = ""
    if low > 0 or high < 0:
        way = "rises" if slope > 0 else "falls"
        least, most = sorted((abs(low), abs(high)))
        sentence = (
            f"The edit cost {way} by {abs(slope):.2f} from the first rows to the last ({least:.2f} to {most:.2f})"
        )
        sentence += "." if timed else "; the rows are taken in the order of the log, as not all have a date."
    means = tuple(float(part.mean()) for part in np.array_split(ordered, DRIFT_SLICES))
    return Drift("created_at" if timed else "order", means, slope, low, high, sentence)


def _centered_positions(block: slice, n: int) -> NDArray[np.float64]:
    """Where the rows of a block are in the log, from -1/2 for the first to 1/2 for the last."""
    places: NDArray[np.float64] = np.arange(block.start, block.stop) / (n - 1) - 0.5
    return places
