"""Estimators of a policy's cost from importance-weighted logs (IPS, SNIPS, doubly robust), and their intervals.

Row i has a cost c_i and a weight w_i: the probability of the answer under the evaluated policy divided by that under
the logged one. If E[w_i | x_i] = 1, the mean of w c over the logged policy's answers has the same expectation as the
mean of c over the evaluated policy's. A baseline predicts `f_i` for the logged answer, and `e_i` for the evaluated
policy's answers.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_NORMAL_QUANTILE = 1.959963984540054  # the 97.5% quantile of the standard normal distribution


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """The estimate as JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class PointEstimate:
    """An estimate before it has an interval.

    Attributes:
        value: the estimate.
        influence: n times the influence of each row; its mean is 0.
    """

    value: float
    influence: FloatArray

    def minus(self, other: "PointEstimate") -> "PointEstimate":
        """The difference of two estimates from the same rows."""
        return PointEstimate(self.value - other.value, self.influence - other.influence)


def estimate_logged_mean(costs: ArrayLike) -> PointEstimate:
    """The mean cost of the logged policies: the mean of c."""
    return _mean_estimate(np.asarray(costs, dtype=float))


def estimate_ips(weights: ArrayLike, costs: ArrayLike) -> PointEstimate:
    """Inverse propensity scoring: the mean of w c. Unbiased, and the widest of the three.

    Source: Horvitz and Thompson 1952, https://doi.org/10.1080/01621459.1952.10483446.
    """
    return _mean_estimate(np.asarray(weights, dtype=float) * np.asarray(costs, dtype=float))


def estimate_snips(weights: ArrayLike, costs: ArrayLike) -> PointEstimate:
    """Self-normalised IPS: Σ w c / Σ w. Its bias falls as 1/n, and it stays within the range of the costs.

    Each row pulls the ratio towards its own cost, so its residual is divided by 1 - w_i / Σ w, which is what the
    jackknife does by leaving the row out.

    Source: Swaminathan and Joachims 2015, https://papers.nips.cc/paper/5748.
    """
    w, c = np.asarray(weights, dtype=float), np.asarray(costs, dtype=float)
    total = w.sum()
    value = float(w @ c / total)
    # If one row has all of the weight, its error cannot be estimated; `check_overlap` rejects such weights.
    left = np.maximum(1 - w / total, 1e-12)
    return PointEstimate(value, len(w) * (w / total) * (c - value) / left)


def estimate_doubly_robust(
    weights: ArrayLike, costs: ArrayLike, predicted: ArrayLike, expected: ArrayLike
) -> PointEstimate:
    """Doubly robust: the mean of e + w (c - f). Unbiased if the weights or the baseline are correct.

    A fitted baseline must not have been fitted to the row that it predicts.

    Source: Dudík, Langford and Li 2011, https://arxiv.org/abs/1103.4601.
    """
    w, c = np.asarray(weights, dtype=float), np.asarray(costs, dtype=float)
    return _mean_estimate(np.asarray(expected, dtype=float) + w * (c - np.asarray(predicted, dtype=float)))


def compute_effective_sample_size(weights: ArrayLike) -> float:
    """The effective sample size (Σ w)² / Σ w²: the equivalent number of rows with equal weights; 0 if all are 0.

    Source: Kish 1965, Survey Sampling; for importance weights Kong 1992.
    """
    w = np.asarray(weights, dtype=float)
    if not w.any():
        return 0.0
    w = w / w.max()  # squares of weights of 1e200 would overflow
    return float(w.sum() ** 2 / (w @ w))


def compute_interval(fit: PointEstimate, effective: float, *, least: float = -np.inf) -> Estimate:
    """An estimate with its 95% interval: its standard error times the quantile of Student's t.

    The t distribution has `effective` - 1 degrees of freedom. docs/evaluate.md compares the coverage of this interval
    with the bootstrap's.

    Args:
        fit: estimate from n rows, at least 2.
        effective: effective sample size, above 1; n for a plain mean.
        least: lower limit of the interval, such as 0 for a cost.
    """
    half = compute_t_quantile(effective - 1) * compute_standard_error(fit)
    return Estimate(fit.value, max(least, fit.value - half), fit.value + half)


def compute_standard_error(fit: PointEstimate) -> float:
    """The standard error of an estimate."""
    n = len(fit.influence)
    return sqrt(float(fit.influence @ fit.influence) / (n * (n - 1)))


def compute_t_quantile(freedom: float) -> float:
    """The 97.5% quantile of Student's t; right to 0.001 from 10 degrees of freedom up.

    Source: the expansion of Fisher and Cornish, Abramowitz and Stegun 26.7.5.
    """
    z, v = _NORMAL_QUANTILE, freedom
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3


def _mean_estimate(values: FloatArray) -> PointEstimate:
    value = float(values.mean())
    return PointEstimate(value, values - value)
