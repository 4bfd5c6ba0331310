"""The means of what the objectives say of every row, over however many batches and processes."""

import torch
from torch import Tensor

from copydesk.training.objectives import RowMetrics

METRIC_NAMES = (
    "accuracy",
    "kl",
    "logp/edit",
    "logp/response",
    "logp_gain/edit",
    "logp_gain/preferred",
    "logp_gain/response",
    "loss/cost",
    "loss/preference",
    "loss/supervised",
    "margin",
    "no_preference",
)
"""Every figure an objective gives of a row, sorted. Log-probabilities are in nats, summed over an answer.

Of every row:

* `loss/supervised`: its supervised term.
* `logp/edit`: log π(y'|x).
* `logp_gain/edit`: the same less log π_ref(y'|x).
* `loss/cost`: its offline cost term, where costs are learnt from.
* `no_preference`: 1 where y' = y, else 0; its mean is the share of rows without preference.
* `kl`: log π_ref(y|x) - log π(y|x). The log's y were drawn from π_ref, so its mean estimates KL(π_ref || π); the
  estimate is as good as that is true. Only where y is scored, so not in supervised training.

Of the edited rows:

* `loss/preference`: its preference term.
* `margin`: β h, in whatever form the preference is.
* `accuracy`: 1 where the margin is above 0, else 0.
* `logp/response`: log π(y|x).
* `logp_gain/response`: the same less log π_ref(y|x).
* `logp_gain/preferred`: `logp_gain/edit`, but of the edited rows alone.
"""


class RunningMeans:
    """Weighted means of per-row metrics, added up batch by batch; adding never waits for the device.

    A row takes part in a mean where its metric is not NaN and its weight is above 0.

    Args:
        device: where the metrics are, and the totals are kept.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._totals = torch.zeros(len(METRIC_NAMES), 2, device=device)

    def add(self, metrics: RowMetrics, weights: Tensor) -> None:
        """Add a batch.

        Args:
            metrics: what an objective returned; each of shape [B].
            weights: the rows' weights, at least 0, shape [B].
        """
        places = [METRIC_NAMES.index(name) for name in metrics]
        values = torch.stack(list(metrics.values()))
        told = ~values.isnan() & (weights > 0)
        sums = torch.where(told, values * weights, 0.0).sum(dim=1)
        self._totals[places] += torch.stack([sums, (told * weights).sum(dim=1)], dim=1)

    def totals(self) -> Tensor:
        """For each of `METRIC_NAMES` the sum of weight x value and the sum of weights, float32 of shape [names, 2].

        Every name has its place, whatever was added, so the totals of several processes add up by one all-reduce.
        """
        return self._totals.clone()

    def means(self, totals: Tensor | None = None) -> dict[str, float]:
        """The means by name, without those that no row said anything about.

        Args:
            totals: what to take them of, such as the sum of every process's; by default our own.
        """
        sums = (self._totals if totals is None else totals).tolist()
        return {name: value / weight for name, (value, weight) in zip(METRIC_NAMES, sums, strict=True) if weight > 0}

    def clear(self) -> None:
        """Start anew."""
        self._totals.zero_()
