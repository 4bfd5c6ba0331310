"""What the costs of a log come to."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from copydesk.data.record import EditRecord

COST_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
"""The quantiles a summary gives, from the smallest cost to the largest."""


@dataclass(frozen=True)
class CostSummary:
    """Counts and costs of a log.

    Attributes:
        rows: how many records there are: `pending + accepted + edited`.
        pending: how many of them still wait for their edit; they have no part in the figures below.
        accepted: how many were kept exactly as they were (cost 0).
        edited: how many were changed.
        mean: the mean cost of accepted and edited rows; `None` when all rows are pending.
        median: their median cost, likewise.
        quantiles: (level, cost) for each of `COST_QUANTILES`, interpolated linearly; empty when all rows are pending.
    """

    rows: int
    pending: int
    accepted: int
    edited: int
    mean: float | None
    median: float | None
    quantiles: tuple[tuple[float, float], ...]


def summarize_costs(costed: Iterable[tuple[EditRecord, float | None]]) -> CostSummary:
    """Summarise records with their costs, as `EditCost.iter_costs` gives them."""
    pending = accepted = 0
    costs = array("d")  # 8 bytes a row, so that millions of rows fit
    for record, cost in costed:
        if cost is None:
            pending += 1
            continue
        accepted += record.accepted
        costs.append(cost)
    values = np.asarray(costs)
    mean = float(np.mean(values)) if costs else None
    # From here on their order is free to change, which saves two copies.
    quantiles = np.quantile(values, COST_QUANTILES, overwrite_input=True).tolist() if costs else []
    return CostSummary(
        rows=pending + len(costs),
        pending=pending,
        accepted=accepted,
        edited=len(costs) - accepted,
        mean=mean,
        median=float(np.median(values, overwrite_input=True)) if costs else None,
        quantiles=tuple(zip(COST_QUANTILES, quantiles, strict=False)),
    )
