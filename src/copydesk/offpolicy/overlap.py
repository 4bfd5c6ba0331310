"""How much a log says of a policy at all, and when that is too little to answer."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np

from copydesk.errors import InputError
from copydesk.offpolicy.estimators import FloatArray, compute_effective_sample_size

MIN_EFFECTIVE_ROWS = 30
"""With fewer effective rows the intervals do not cover what they say: a skewed mean of 30 is barely normal."""

MIN_EFFECTIVE_SHARE = 0.01
"""Below 1% of the rows the few that count are those where the policy happens to agree with the log."""

MAX_WEIGHT_SHARE = 0.1
"""A single row with more than a tenth of the weight is too much of the estimate for its error to be told. (More than a
fifth leaves fewer than 30 effective rows in any case.)"""

MAX_WEIGHT_ERRORS, MAX_WEIGHT_DEVIATION = 4.0, 0.1
"""Weights average 1 wherever the log could have held the policy's answers. An average that is more than 4 standard
errors and more than 0.1 away says that it could not; chance alone does that once in ten thousand logs."""

MIN_EXPECTED_ROWS = 100
"""Of weights from texts. A log that by chance lacks the few answers that would weigh most looks better than it is, by
its effective sample size too. The spread of log w is there in every log. Chosen on simulated logs with lognormal
weights, where it refuses most of the logs whose intervals fail; on texts of the embedded model, whose weights have a
heavier tail than that, it refused none of them (docs/evaluate.md). So there is `UNEVEN_SHARE` as well."""

UNEVEN_SHARE = 1 / 3
"""Of weights from texts, below this effective share there is an answer with a warning: intervals of 95% then held the
truth in about 86% of simulated logs."""

MAX_UNREACHABLE_SHARE = 0.05
"""Rows in which the policy could not have answered weigh nothing, and nothing stands for what it would have cost there:
with 5% of them an IPS that is 5% too low is still within its interval."""


@dataclass(frozen=True)
class Overlap:
    """How far weights reach.

    Attributes:
        rows: n.
        effective: the effective sample size.
        largest: the largest row's share of the weight.
        mean_weight: what the weights average; 1 but for chance, where the log could hold all the policy's answers.
        error: the standard error of that average.
        unreachable: rows in which the policy could not have answered.
        expected: of weights from texts, the effective rows that their spread lets expect; see
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
        """Look at the weights of n rows."""
        n, total = len(weights), float(weights.sum())
        largest = float(weights.max() / total) if total > 0 else 0.0
        error = float(weights.std(ddof=1)) / sqrt(n) if n > 1 else 0.0
        average = total / n if n else 0.0
        return cls(
            n, compute_effective_sample_size(weights) if n else 0.0, largest, average, error, unreachable, expected
        )

    @property
    def min_effective_rows(self) -> float:
        """How many effective rows an answer takes."""
        return max(MIN_EFFECTIVE_ROWS, MIN_EFFECTIVE_SHARE * self.rows)

    @property
    def why_insufficient(self) -> str | None:
        """Why there is no answer, in a few words; `None` where there is one."""
        if self.effective < self.min_effective_rows:
            return f"it takes {self.min_effective_rows:.0f} effective rows"
        if self.expected is not None and self.expected < MIN_EXPECTED_ROWS:
            return (
                f"by the spread of the weights {self.expected:.0f} effective rows can be relied on, and it takes "
                f"{MIN_EXPECTED_ROWS}"
            )
        if self.unreachable > MAX_UNREACHABLE_SHARE * self.rows:
            return f"in {self.unreachable} rows another one was certain to answer: nothing says what it costs there"
        if self.largest > MAX_WEIGHT_SHARE:
            return f"one row alone has {self.largest:.0%} of the weight"
        away = abs(self.mean_weight - 1)
        # 1e-9: weights that are all the same have no error but rounding's.
        if away > MAX_WEIGHT_DEVIATION and away > MAX_WEIGHT_ERRORS * self.error + 1e-9:
            return f"the weights average {self.mean_weight:.2g} and not 1: the log has hardly any answers like its own"
        return None

    def to_json(self) -> dict[str, float | int | None]:
        """As JSON values."""
        return asdict(self)


def compute_expected_sample_size(log_weights: FloatArray, who: Sequence[str]) -> float:
    """How many effective rows weights of texts let expect: n / E[w²], with log w normal for each policy that answered.

    With a standard deviation of s and E[w] = 1, E[w²] is then e^(s²). Unlike the effective sample size it does not hang
    on a few rows; where the tail of log w is heavier than a normal one it promises too much.

    Args:
        log_weights: shape [n]; -inf for a text that the policy would never write, which tells nothing of the spread.
        who: the policy that answered, of each row.
    """
    policies = np.array(who)
    squares = 0.0
    for name in np.unique(policies):
        own = log_weights[policies == name]
        spread = float(own[np.isfinite(own)].var()) if np.isfinite(own).any() else 0.0
        squares += len(own) * float(np.exp(min(spread, 300.0)))
    return len(policies) ** 2 / squares if squares else 0.0


def check_overlap(overlap: Overlap, policy: str, fix: str) -> None:
    """Refuse to answer from too little.

    Args:
        overlap: what there is.
        policy: whose.
        fix: what a person can do about it.

    Raises:
        InputError: the overlap is too small.
    """
    if overlap.why_insufficient is not None:
        raise InputError(
            f"--policy {policy}: the overlap with the log is too small (effective sample size {overlap.effective:.1f} "
            f"of {overlap.rows} rows): {overlap.why_insufficient}; {fix}"
        )
