"""Rules that choose a method's training settings from held-out metrics, without the cost of the online phase.

A candidate is one setting of one method, trained on each of several logs (of a strong and of a weak user, say) and
measured on the held-out edits of each. A rule takes the candidate with the smallest mean of one metric; a gated rule
first leaves out the candidates whose texts are malformed on any of the logs. Loads no torch.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import correlation, fmean
from typing import Any

from copydesk.errors import InputError
from copydesk.simulate.held_out import HeldOutMetrics

GATE_TOLERANCE = 0.1
"""By how much the share of strange texts may exceed that of the held-out edits, and the share of repetitions 0."""


@dataclass(frozen=True)
class Candidate:
    """One setting of a method, measured on the held-out edits of every log.

    Attributes:
        name: of the setting.
        settings: what it sets.
        metrics: by log, at least one.
    """

    name: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, HeldOutMetrics]

    def compute_mean(self, metric: str) -> float:
        """The mean of a metric over the logs; infinite if training diverged on one of them."""
        mean = fmean(getattr(one, metric) for one in self.metrics.values())
        return math.inf if math.isnan(mean) else mean

    @property
    def malformed_excess(self) -> float:
        """What the gate checks, on the log where it is largest: texts stranger or more repetitive than the edits."""
        return max(max(one.strange - one.strange_edits, one.repetition) for one in self.metrics.values())


@dataclass(frozen=True)
class SelectionRule:
    """Chooses the candidate with the smallest mean of a metric.

    Attributes:
        metric: a field of `HeldOutMetrics`.
        gated: only candidates whose `malformed_excess` is at most `GATE_TOLERANCE` are considered. If there are none,
            the one with the smallest excess is chosen.
        description: for tables and `--help`.
    """

    metric: str
    gated: bool
    description: str

    def choose(self, candidates: Sequence[Candidate], tolerance: float = GATE_TOLERANCE) -> Candidate:
        """The chosen candidate; of equal ones the first.

        Raises:
            InputError: there are no candidates.
        """
        if not candidates:
            raise InputError("there are no candidates to choose from; train at least one setting")
        passing = candidates
        if self.gated:
            passing = [one for one in candidates if one.malformed_excess <= tolerance]
            if not passing:
                return min(candidates, key=lambda one: one.malformed_excess)
        return min(passing, key=lambda one: one.compute_mean(self.metric))


SELECTION_RULES: Mapping[str, SelectionRule] = {
    "log-loss": SelectionRule("log_loss", False, "the smallest log-loss of the held-out edits (the paper's rule)"),
    "changed-log-loss": SelectionRule(
        "changed_log_loss", False, "the smallest log-loss of the tokens that the user changed in the held-out edits"
    ),
    "unfixed": SelectionRule(
        "unfixed",
        True,
        "the smallest share of the held-out edits' changed words that the policy's own text does not reproduce, among "
        "the settings whose texts are neither strange nor repetitive",
    ),
}
"""The rules by name."""


@dataclass(frozen=True)
class Correlation:
    """How well a metric ranks and predicts the true cost; `None` where it is not defined.

    Attributes:
        spearman: the correlation of the ranks.
        pearson: the correlation of the values.
    """

    spearman: float | None
    pearson: float | None


def compute_correlation(values: Sequence[float], costs: Sequence[float]) -> Correlation:
    """Correlate a metric with the true costs of the same candidates.

    Args:
        values: of the metric; infinite where training diverged.
        costs: the mean edit cost of each candidate in the online phase.

    Returns:
        Both correlations. Equal values share the mean of their ranks. Neither is defined where all values or all costs
        are equal, and Pearson's is not where a value is infinite.
    """
    if len(set(values)) < 2 or len(set(costs)) < 2:
        return Correlation(None, None)
    finite = all(map(math.isfinite, values))
    return Correlation(
        spearman=correlation(_compute_ranks(values), _compute_ranks(costs)),
        pearson=correlation(values, costs) if finite else None,
    )


def _compute_ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value)) / 2 for value in values]
