"""A figure over seeds."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any


def summarize_spread(per_seed: Sequence[float]) -> dict[str, Any]:
    """The mean over seeds, their sample standard deviation (0 for a single seed), and the figures themselves."""
    return {
        "mean": fmean(per_seed),
        "std": stdev(per_seed) if len(per_seed) > 1 else 0.0,
        "per_seed": list(per_seed),
    }
