"""What a policy would have cost, from costs that others were paid: three estimators and their intervals.

Row i has a cost c_i and a weight w_i, how much likelier the answer was under the policy in question than when it was
logged. Where E[w_i | x_i] = 1, the mean of w c over answers of the logged policy is the mean of c over answers of the
other one. `f_i` is what a baseline predicts of the logged answer, and `e_i` what it expects of the policy's own.
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
        """As JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class PointEstimate:
    """An estimate before it has an interval.

    Attributes:
        value: the estimate.
        influence: how far each row draws it away: the influence of the row, times n; its mean is 0.
    """

    value: float
    influence: FloatArray

    def minus(self, other: "PointEstimate") -> "PointEstimate":
        """The difference of two estimates from the same rows."""
        return PointEstimate(self.value - other.value, self.influence - other.influence)


def estimate_logged_mean(costs: ArrayLike) -> PointEstimate:
    """What the logged policies cost: the mean of c."""
    return _mean_estimate(np.asarray(costs, dtype=float))


def estimate_ips(weights: ArrayLike, costs: ArrayLike) -> PointEstimate:
    """Inverse propensity scoring: the mean of w c. Unbiased, and the widest of the three.

    Source: Horvitz and Thompson 1952, https://doi.org/10.1080/01621459.1952.10483446.
    """
    return _mean_estimate(np.asarray(weights, dtype=float) * np.asarray(costs, dtype=float))


def estimate_snips(weights: ArrayLike, costs: ArrayLike) -> PointEstimate:
    """Self-normalised IPS: Σ w c / Σ w. Its bias goes down as 1/n; it never leaves the range of the costs.

    A row pulls a ratio towards itself, the more so the more of the weight it has: what is left of it is divided by
    1 - w_i / Σ w, as the jackknife does by leaving the row out.

    Source: Swaminathan and Joachims 2015, https://papers.nips.cc/paper/5748.
    """
    w, c = np.asarray(weights, dtype=float), np.asarray(costs, dtype=float)
    total = w.sum()
    value = float(w @ c / total)
    # A row with all of the weight is no estimate of its own error; `check_overlap` refuses long before.
    left = np.maximum(1 - w / total, 1e-12)
    return PointEstimate(value, len(w) * (w / total) * (c - value) / left)


def estimate_doubly_robust(
    weights: ArrayLike, costs: ArrayLike, predicted: ArrayLike, expected: ArrayLike
) -> PointEstimate:
    """Doubly robust: the mean of e + w (c - f). Right on average if the weights are right, or else the baseline.

    A baseline that was fitted must not have seen the row it predicts.

    Source: Dudík, Langford and Li 2011, https://arxiv.org/abs/1103.4601.
    """
    w, c = np.asarray(weights, dtype=float), np.asarray(costs, dtype=float)
    return _mean_estimate(np.asarray(expected, dtype=float) + w * (c - np.asarray(predicted, dtype=float)))


def compute_effective_sample_size(weights: ArrayLike) -> float:
    """The effective sample size (Σ w)² / Σ w²: how many rows of equal weight tell as much; 0 where all weigh 0.

    Source: Kish 1965, Survey Sampling; for importance weights Kong 1992.
    """
    w = np.asarray(weights, dtype=float)
    if not w.any():
        return 0.0
    w = w / w.max()  # squares of weights of 1e200 are no numbers
    return float(w.sum() ** 2 / (w @ w))


def compute_interval(fit: PointEstimate, effective: float, *, least: float = -np.inf) -> Estimate:
    """An estimate with its 95% interval: its standard error times the quantile of Student's t.

    The t has `effective` - 1 degrees of freedom, since so many rows carry the estimate and its error. Why this one and
    no bootstrap: docs/evaluate.md has what both cover.

    Args:
        fit: from n rows, at least 2.
        effective: how many rows carry it, above 1; n for a plain mean.
        least: the least value there can be, such as 0 for a cost.
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
