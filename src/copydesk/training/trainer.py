"""`EditTrainer`: a `transformers.Trainer` for edits, with averaged metrics and a warning of likelihood displacement.

Metrics are weighted means over rows, over any number of batches and processes. Likelihood displacement is preference
training that raises the margin while it makes the edits themselves less likely.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import TrainingArguments
from transformers.trainer_utils import TrainOutput

from copydesk.method_registry import METHODS, get_method
from copydesk.training.base_trainer import RowTrainer
from copydesk.training.config import TrainConfig
from copydesk.training.encode import Triple
from copydesk.training.logprobs import (
    ForwardPlan,
    TripleLogProbs,
    batch_logprobs,
    choose_forward,
    compute_longest_length,
)
from copydesk.training.objectives import BatchLogProbs, RowMetrics, soft_min_value

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
"""Every metric of a row that an objective may return, sorted. Log-probabilities are in nats, summed over an answer.

Of every row:

* `loss/supervised`: its supervised term.
* `logp/edit`: log π(y'|x).
* `logp_gain/edit`: the same less log π_ref(y'|x).
* `loss/cost`: its offline cost term, if the method has one.
* `no_preference`: 1 where y' = y, else 0; its mean is the share of rows without preference.
* `kl`: log π_ref(y|x) - log π(y|x). The log's y were drawn from π_ref, so its mean estimates KL(π_ref || π); the
  estimate is as good as that is true. Only where y is scored, so not in supervised training.

Of the edited rows:

* `loss/preference`: its preference term.
* `margin`: β h, whatever the form of the preference loss.
* `accuracy`: 1 where the margin is above 0, else 0.
* `logp/response`: log π(y|x).
* `logp_gain/response`: the same less log π_ref(y|x).
* `logp_gain/preferred`: `logp_gain/edit`, but of the edited rows alone.
"""


class RunningMeans:
    """Weighted means of per-row metrics, accumulated batch by batch; adding never synchronises with the device.

    A row counts in a mean where its metric is not NaN and its weight is above 0.

    Args:
        device: of the metrics and the totals.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._totals = torch.zeros(len(METRIC_NAMES), 2, device=device)

    def add(self, metrics: RowMetrics, weights: Tensor) -> None:
        """Add a batch.

        Args:
            metrics: as an objective returns them; each of shape [B].
            weights: the rows' weights, at least 0, shape [B].
        """
        places = [METRIC_NAMES.index(name) for name in metrics]
        values = torch.stack(list(metrics.values()))
        counted = ~values.isnan() & (weights > 0)
        sums = torch.where(counted, values * weights, 0.0).sum(dim=1)
        self._totals[places] += torch.stack([sums, (counted * weights).sum(dim=1)], dim=1)

    def totals(self) -> Tensor:
        """For each of `METRIC_NAMES` the sum of weight x value and the sum of weights, float32 of shape [names, 2].

        Every name has a row, whatever was added, so one all-reduce adds up the totals of several processes.
        """
        return self._totals.clone()

    def means(self, totals: Tensor | None = None) -> dict[str, float]:
        """The means by name, without the metrics that no row has.

        Args:
            totals: totals to take the means of, such as the sum over all processes; by default this object's own.
        """
        sums = (self._totals if totals is None else totals).tolist()
        return {name: value / weight for name, (value, weight) in zip(METRIC_NAMES, sums, strict=True) if weight > 0}

    def clear(self) -> None:
        """Reset all totals to 0."""
        self._totals.zero_()


DISPLACEMENT_FLOOR = -1.0
"""Likelihood displacement is reported when log π(y'|x) falls further below the reference than this, in nats."""

_EDIT_GAIN, _RESPONSE_GAIN, _MARGIN = "logp_gain/preferred", "logp_gain/response", "margin"


def displacement_warning(history: Sequence[dict[str, float]]) -> str | None:
    """A warning that a run makes the edits it should learn less likely.

    The loss of a pair also falls when y becomes much less likely and y' a little less. This happens when y and y' are
    nearly the same, because they share most tokens. The warning is given when the edited rows' y' are less likely than
    `DISPLACEMENT_FLOOR` allows while their margin is larger than at the start.

    Args:
        history: log entries so far, oldest first, means by name; entries without the metrics are skipped.

    Returns:
        One line with the figures and the remedies, or `None` if there is no displacement or nothing was logged.

    Source: Razin et al., *Unintentional Unalignment: Likelihood Displacement in Direct Preference Optimization*,
    https://arxiv.org/abs/2410.08847.
    """
    entries = [entry for entry in history if {_EDIT_GAIN, _RESPONSE_GAIN, _MARGIN} <= entry.keys()]
    if not entries:
        return None
    first, last = entries[0], entries[-1]
    if not (last[_EDIT_GAIN] < DISPLACEMENT_FLOOR and last[_MARGIN] > first[_MARGIN]):
        return None
    return (
        f"likelihood displacement: the edits became less likely while the margin rose from {first[_MARGIN]:.3g} to "
        f"{last[_MARGIN]:.3g}; log π(y'|x) is {-last[_EDIT_GAIN]:.1f} nats below the reference and log π(y|x) "
        f"{_format_gain(last[_RESPONSE_GAIN])}. DPO is known to fail like this on near-identical pairs (Razin et al., "
        "arXiv 2410.08847). Raise --lambda-sup with --method early, or use --preference dpop, or lower --lr."
    )


def _format_gain(gain: float) -> str:
    return f"{abs(gain):.1f} nats {'below' if gain < 0 else 'above'} it"


logger = logging.getLogger(__name__)


class TrainingExample(NamedTuple):
    """A triple with its log-probabilities under the reference policy."""

    triple: Triple
    ref_edit: float
    ref_response: float


# Fills up the last batches of several processes; its weight of 0 keeps it out of every mean.
PADDING_EXAMPLE = TrainingExample(Triple("", (0,), (0,), (0,), weight=0.0), 0.0, 0.0)


def build_examples(triples: Sequence[Triple], references: TripleLogProbs, method: str) -> list[TrainingExample]:
    """The rows a method trains on; some methods leave out rows without a preference."""
    edited_only = get_method(method).edited_rows_only
    rows = zip(triples, references.edit.tolist(), references.response.tolist(), strict=True)
    return [TrainingExample(*row) for row in rows if row[0].edited or not edited_only]


class TripleCollator:
    """Lays out B examples as one batch; see `lay_out`.

    Args:
        method: decides whether y is scored.
        forward: how the model is run.
        row_tokens: as in `TrainConfig`.
    """

    def __init__(self, method: str, forward: ForwardPlan, row_tokens: int | None = None) -> None:
        self.needs_response = "response" in get_method(method).needs
        self.forward, self.row_tokens = forward, row_tokens

    def __call__(self, batch: Sequence[TrainingExample]) -> dict[str, Tensor]:
        """The tensors of `lay_out`, and `edited`, `weight`, `cost`, `ref_edit` and `ref_response` of shape [B].

        The cost is 0 where none is known.
        """
        triples = [example.triple for example in batch]
        return self.forward.lay_out(triples, with_response=self.needs_response, row_tokens=self.row_tokens) | {
            "edited": torch.tensor([triple.edited for triple in triples]),
            "weight": torch.tensor([triple.weight for triple in triples]),
            "cost": torch.tensor([triple.cost or 0.0 for triple in triples]),
            "ref_edit": torch.tensor([example.ref_edit for example in batch]),
            "ref_response": torch.tensor([example.ref_response for example in batch]),
        }


class EditTrainer(RowTrainer):
    """Trains a causal language model on edit triples; one forward pass per batch scores every y' and y in it.

    The loss of an optimizer step is a mean over the rows of the step, however these are spread over batches and
    processes. Everything else (devices, processes, precision, optimizer, schedule) is `transformers.Trainer`'s.

    Args:
        model: the policy π, starting at π_ref; with a PEFT adapter or all weights trainable.
        args: as for `transformers.Trainer`, with `remove_unused_columns=False`.
        rows: of `build_examples` for the same method.
        settings: of the run; the method, its objective's settings and `row_tokens` are read here.
        forward: how to run the model; by default `choose_forward` decides.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        rows: Sequence[TrainingExample],
        settings: TrainConfig,
        forward: ForwardPlan | None = None,
    ) -> None:
        self.settings = settings
        self.forward = forward or choose_forward(model, compute_longest_length([row.triple for row in rows]))
        collator = TripleCollator(settings.method, self.forward, settings.row_tokens)
        super().__init__(model, args, rows, PADDING_EXAMPLE, collator)
        weights = torch.tensor([row.triple.weight for row in rows], dtype=torch.float64)
        edited = torch.tensor([row.triple.edited for row in rows])
        self.edited_weight_share = float(weights[edited].sum() / weights.sum())
        # V of `compute_offline_cost_loss`.
        self.baseline_value = (
            soft_min_value([row.triple for row in rows], settings.beta) if settings.uses_costs else 0.0
        )
        self._since_last_log = RunningMeans(args.device)
        self._warned = False

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As in `Trainer`, with the attention that packed rows need."""
        model: Any = self.model
        with self.forward.use_attention(model):
            return super().train(*args, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, RowMetrics]:
        """This batch's part of the step's loss; its metrics are kept for the next log entry.

        Args:
            model: the policy, wrapped or not.
            inputs: a batch of `TripleCollator`.
            return_outputs: also return the metrics.
            num_items_in_batch: the weight of all rows of the step; of this batch alone if not given.
        """
        weights = inputs["weight"]
        rows = weights.sum() if num_items_in_batch is None else num_items_in_batch
        with self.forward.use_attention(self.accelerator.unwrap_model(model)):
            edit, response = batch_logprobs(model, inputs, len(weights), self.forward)
        batch = BatchLogProbs(
            edit,
            response,
            inputs["ref_edit"],
            inputs["ref_response"],
            inputs["edited"],
            weights,
            inputs["cost"],
            rows=rows,
            pairs=rows * self.edited_weight_share,
            baseline_value=self.baseline_value,
        )
        loss: Tensor
        loss, metrics = METHODS[self.settings.method].loss(batch, self.settings)
        self._since_last_log.add(metrics, weights)
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes, the parts add up
        return (loss, metrics) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the objective's metrics, averaged over the rows of all processes since the last log entry."""
        if "loss" in logs:
            totals = self.accelerator.reduce(self._since_last_log.totals(), reduction="sum")
            logs |= self._since_last_log.means(totals)
            self._since_last_log.clear()
        super().log(logs, start_time)
        if not self._warned and (warning := displacement_warning(self.state.log_history)):
            self._warned = True
            logger.warning("%s", warning)
