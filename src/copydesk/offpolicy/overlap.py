"""Measures how much a log overlaps with a policy, and rejects policies with too little overlap."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np

from copydesk.errors import InputError
from copydesk.offpolicy.estimators import FloatArray, compute_effective_sample_size

MIN_EFFECTIVE_ROWS = 30
"""With fewer effective rows the intervals are too narrow: a mean of 30 skewed values is barely normal."""

MIN_EFFECTIVE_SHARE = 0.01
"""Below 1% of the rows, the few with weight are those where the policy happens to agree with the log."""

MAX_WEIGHT_SHARE = 0.1
"""If a single row has more than a tenth of the weight, the estimate's error cannot be estimated. (More than a fifth
leaves fewer than 30 effective rows in any case.)"""

MAX_WEIGHT_ERRORS, MAX_WEIGHT_DEVIATION = 4.0, 0.1
"""Weights average 1 if the log could contain all of the policy's answers. An average more than 4 standard errors and
more than 0.1 away from 1 shows that it could not; chance alone does that once in ten thousand logs."""

MIN_EXPECTED_ROWS = 100
"""For weights from texts. A log that by chance lacks the few answers with the largest weights looks better than it is,
also by its effective sample size; the spread of log w shows in every log. Chosen on simulated logs with lognormal
weights, where it refuses most of the logs whose intervals fail. On texts of the embedded model, whose weights have a
heavier tail, it refused none of them (docs/evaluate.md), so `UNEVEN_SHARE` adds a warning."""

UNEVEN_SHARE = 1 / 3
"""For weights from texts, the result has a warning below this effective share: 95% intervals then contained the truth
in about 86% of simulated logs."""

MAX_UNREACHABLE_SHARE = 0.05
"""Rows in which the policy could not have answered have weight 0, so its cost there is missing: with 5% of such rows an
IPS estimate that is 5% too low is still within its interval."""


@dataclass(frozen=True)
class Overlap:
    """Summary of importance weights.

    Attributes:
        rows: n.
        effective: effective sample size.
        largest: share of the weight that the largest row has.
        mean_weight: mean of the weights; 1 in expectation if the log could contain all of the policy's answers.
        error: standard error of that mean.
        unreachable: rows in which the policy could not have answered.
        expected: for weights from texts, the effective sample size expected from their spread; see
            `compute_expected_sample_size`.
    """

    rows: int
    effective: float
    largest: float
    mean_weight: float
    error: float
    unreachable: int = 0
    expected: float | None = None

    @classmethod
    def from_weights(cls, weights: FloatArray, unreachable: int = 0, expected: float | None = None) -> "Overlap":
        """Summarize the weights of n rows."""
        n, total = len(weights), float(weights.sum())
        largest = float(weights.max() / total) if total > 0 else 0.0
        error = float(weights.std(ddof=1)) / sqrt(n) if n > 1 else 0.0
        average = total / n if n else 0.0
        return cls(
            n, compute_effective_sample_size(weights) if n else 0.0, largest, average, error, unreachable, expected
        )

    @property
    def min_effective_rows(self) -> float:
        """The number of effective rows needed."""
        return max(MIN_EFFECTIVE_ROWS, MIN_EFFECTIVE_SHARE * self.rows)

    @property
    def why_insufficient(self) -> str | None:
        """Why the overlap is too small, in a few words; `None` where it is large enough."""
        if self.effective < self.min_effective_rows:
            return f"{self.min_effective_rows:.0f} effective rows are needed"
        if self.expected is not None and self.expected < MIN_EXPECTED_ROWS:
            return (
                f"the spread of the weights gives {self.expected:.0f} reliable effective rows, and "
                f"{MIN_EXPECTED_ROWS} are needed"
            )
        if self.unreachable > MAX_UNREACHABLE_SHARE * self.rows:
            return f"in {self.unreachable} rows another policy was certain to answer, so its cost there is unknown"
        if self.largest > MAX_WEIGHT_SHARE:
            return f"one row alone has {self.largest:.0%} of the weight"
        deviation = abs(self.mean_weight - 1)
        # 1e-9: weights that are all the same have only a rounding error.
        if deviation > MAX_WEIGHT_DEVIATION and deviation > MAX_WEIGHT_ERRORS * self.error + 1e-9:
            return f"the weights average {self.mean_weight:.2g} and not 1: the log has hardly any answers like its own"
        return None

    def to_json(self) -> dict[str, float | int | None]:
        """The summary as JSON values."""
        return asdict(self)


def compute_expected_sample_size(log_weights: FloatArray, answered_by: Sequence[str]) -> float:
    """The effective sample size expected from the spread of text weights: n / E[w²].

    log w is taken to be normal for each policy that answered. With a standard deviation of s and E[w] = 1, E[w²] is
    then e^(s²). Unlike the effective sample size it does not depend on a few rows; where the tail of log w is heavier
    than a normal one it is too large.

    Args:
        log_weights: shape [n]; -inf for a text that the policy would never write, which is left out of the spread.
        answered_by: the policy that answered each row.
    """
    policies = np.array(answered_by)
    squares = 0.0
    for name in np.unique(policies):
        own = log_weights[policies == name]
        spread = float(own[np.isfinite(own)].var()) if np.isfinite(own).any() else 0.0
        squares += len(own) * float(np.exp(min(spread, 300.0)))
    return len(policies) ** 2 / squares if squares else 0.0


def check_overlap(overlap: Overlap, policy: str, fix: str) -> None:
    """Raise an error where the overlap is too small for an estimate.

    Args:
        overlap: overlap of the policy with the log.
        policy: the policy, for the message.
        fix: what to do about it, for the message.

    Raises:
        InputError: the overlap is too small.
    """
    if overlap.why_insufficient is not None:
        raise InputError(
            f"--policy {policy}: the overlap with the log is too small (effective sample size {overlap.effective:.1f} "
            f"of {overlap.rows} rows): {overlap.why_insufficient}; {fix}"
        )
