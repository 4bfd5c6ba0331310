"""The poster's two sentences as measurements: what moves DPO, and what moves SFT."""

from dataclasses import dataclass

import numpy as np

from copydesk.theory.grid import Grid
from copydesk.theory.space import Array

RESAMPLES = 2_000


@dataclass(frozen=True)
class SlopeEstimate:
    """A figure and the interval that holds 95% of it when the repetitions are drawn again."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SlopeFit:
    """How much SubOpt rises, in nats (SubOpt/β), from the best to the worst along one axis of the grid.

    Attributes:
        n: edits in the log.
        axis: `coverage`, from good to poor (`apart`, scaled to [0, 1] over the grid), or `quality`, from edits that
            lead all the way to π* to edits that leave everything (`left`, which is in [0, 1]).
        subset: the settings it was fitted to, in words.
        slope: per learner.
        ratio: over coverage DPO's slope divided by SFT's, over quality SFT's divided by DPO's. Above 1 the poster's
            sentence holds.
    """

    n: int
    axis: str
    subset: str
    slope: dict[str, SlopeEstimate]
    ratio: SlopeEstimate


def fit_all_slopes(grid: Grid, seed: int) -> list[SlopeFit]:
    """Both axes over the whole grid; coverage also by users, strong and weak; quality also by coverage."""
    strengths, apart = np.array(grid.strengths), np.array(grid.divergences)
    everyone, all_coverage = np.ones(len(strengths), bool), np.ones(len(apart), bool)
    coverage = [
        ("all users", everyone),
        ("strong users, m ≥ 16", strengths >= 16),
        ("weak users, m ≤ 2", strengths <= 2),
    ]
    quality = [("all coverages", all_coverage), ("good coverage", apart <= 2), ("poor coverage", apart >= 5)]
    return [
        *(fit_slopes(grid, "coverage", where, rows, all_coverage, seed) for where, rows in coverage if rows.any()),
        *(fit_slopes(grid, "quality", where, everyone, columns, seed) for where, columns in quality if columns.any()),
    ]


def fit_slopes(grid: Grid, axis: str, where: str, strengths: np.ndarray, apart: np.ndarray, seed: int) -> SlopeFit:
    """Least squares of SubOpt/β on one axis, with an intercept, over the settings that the two masks pick.

    Every strength meets every coverage, so that neither axis speaks for the other. The intervals are of a bootstrap
    over the repetitions.
    """
    part = np.ix_(strengths, apart)
    distances = np.array(grid.divergences)
    scaled = np.broadcast_to((distances - distances.min()) / np.ptp(distances), grid.distance_left.shape)
    along = (scaled if axis == "coverage" else grid.distance_left)[part].ravel()
    along = (along - along.mean()) / ((along - along.mean()) ** 2).sum()
    repeats = next(iter(grid.measured.values())).shape[-1]
    rng = np.random.default_rng([seed, grid.n])
    resampled = rng.multinomial(repeats, np.full(repeats, 1 / repeats), size=RESAMPLES)
    weights = np.concatenate([np.ones((1, repeats)), resampled]) / repeats  # the first is what was measured
    drawn: dict[str, Array] = {}
    for name in ("sft", "dpo", "rl", "early"):
        nats = (grid.measured[name] / grid.beta[..., None])[part].reshape(-1, repeats)
        drawn[name] = along @ (nats @ weights.T)
    above, below = ("dpo", "sft") if axis == "coverage" else ("sft", "dpo")
    with np.errstate(divide="ignore", invalid="ignore"):  # a slope can be 0 in a resample
        ratio = drawn[above] / drawn[below]
    return SlopeFit(
        grid.n,
        axis,
        where,
        {name: _estimate_interval(found) for name, found in drawn.items()},
        _estimate_interval(ratio),
    )


def _estimate_interval(values: Array) -> SlopeEstimate:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return SlopeEstimate(float(values[0]), float(low), float(high))
