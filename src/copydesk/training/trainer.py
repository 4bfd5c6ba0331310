"""`EditTrainer`: a `transformers.Trainer` that learns from edits.

The means of what the objectives say of every row, over however many batches and processes.

Likelihood displacement: preference training that wins its pairs by making the edits themselves less likely.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import TrainingArguments
from transformers.trainer_utils import TrainOutput

from copydesk.training.base_trainer import RowTrainer
from copydesk.training.config import Method, TrainConfig
from copydesk.training.encode import Triple
from copydesk.training.logprobs import (
    ForwardPlan,
    TripleLogProbs,
    batch_logprobs,
    choose_forward,
    compute_longest_length,
)
from copydesk.training.objectives import (
    RowMetrics,
    compute_early_ensemble_loss,
    compute_preference_loss,
    compute_supervised_loss,
    soft_min_value,
)

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


DISPLACEMENT_FLOOR = -1.0
"""How far log π(y'|x) may lie below the reference, in nats, before it is called displaced: a third as likely."""

_EDIT_GAIN, _RESPONSE_GAIN, _MARGIN = "logp_gain/preferred", "logp_gain/response", "margin"


def displacement_warning(history: Sequence[dict[str, float]]) -> str | None:
    """Whether a run pushes down the very edits it should learn, in words.

    The loss of a pair falls just as well when y becomes much less likely and y' a little less. With y and y' nearly the
    same, most tokens are in both, and that is what happens. It is said when the edited rows' y' have become less
    likely than `DISPLACEMENT_FLOOR` allows while their margin is larger than at first.

    Args:
        history: what was logged so far, the oldest first, means by name; entries without the figures are passed over.

    Returns:
        One line with the figures and the remedies, or `None` when all is well or nothing is known.

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


# Fills the last batches of several processes; its weight of 0 keeps it out of every mean.
PADDING_EXAMPLE = TrainingExample(Triple("", (0,), (0,), (0,), weight=0.0), 0.0, 0.0)


def build_examples(triples: Sequence[Triple], references: TripleLogProbs, method: Method) -> list[TrainingExample]:
    """The rows a method trains on; `dpo` has no use for rows without a preference."""
    together = zip(triples, references.edit.tolist(), references.response.tolist(), strict=True)
    return [TrainingExample(*row) for row in together if method != "dpo" or row[0].edited]


class TripleCollator:
    """Lays out B examples as one batch; see `lay_out`.

    Args:
        method: `sft` needs no y.
        forward: how the model is run.
        row_tokens: as in `TrainConfig`.
    """

    def __init__(self, method: Method, forward: ForwardPlan, row_tokens: int | None = None) -> None:
        self.needs_response, self.forward, self.row_tokens = method != "sft", forward, row_tokens

    def __call__(self, batch: Sequence[TrainingExample]) -> dict[str, Tensor]:
        """Returns what `lay_out` does, and `edited`, `weight`, `cost`, `ref_edit` and `ref_response` of shape [B].

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
    """Trains a causal language model on edit triples; one forward pass a batch scores every y' and y in it.

    The loss of an optimizer step is a mean over the rows of the step, however these are spread over batches and
    processes. Everything else (devices, processes, precision, optimizer, schedule) is `transformers.Trainer`'s.

    Args:
        model: the policy π, starting at π_ref; with a PEFT adapter or all weights trainable.
        args: as for `transformers.Trainer`, with `remove_unused_columns=False`.
        rows: what `examples` made for the same method.
        settings: the method and what its objective needs, and `row_tokens`, are read here.
        forward: how to run the model; found out if not given.
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
        """As `Trainer` does, with the attention that packed rows need."""
        bare: Any = self.model
        with self.forward.use_attention(bare):
            return super().train(*args, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, RowMetrics]:
        """This batch's part of the step's loss; its metrics are kept for the next log.

        Args:
            model: the policy, wrapped or not.
            inputs: what `TripleCollator` returns.
            return_outputs: return the metrics too.
            num_items_in_batch: the weight of all rows of the step; of this batch alone if not given.
        """
        settings, edited, weights = self.settings, inputs["edited"], inputs["weight"]
        rows = weights.sum() if num_items_in_batch is None else num_items_in_batch
        with self.forward.use_attention(self.accelerator.unwrap_model(model)):
            edit, response = batch_logprobs(model, inputs, len(weights), self.forward)
        loss: Tensor
        if settings.method == "sft":
            loss, metrics = compute_supervised_loss(edit, inputs["ref_edit"], weights=weights, rows=rows)
        else:
            terms = (edit, response, inputs["ref_edit"], inputs["ref_response"], edited)
            form = settings.preference_options() | {"weights": weights}
            pairs = rows * self.edited_weight_share
            if settings.method == "dpo":
                loss, metrics = compute_preference_loss(*terms, rows=pairs, **form)
            else:
                form |= settings.cost_options(inputs["cost"], self.baseline_value)
                loss, metrics = compute_early_ensemble_loss(
                    *terms, lambda_sup=settings.lambda_sup, rows=rows, pairs=pairs, **form
                )
        self._since_last_log.add(metrics, weights)
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes, the parts add up
        return (loss, metrics) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the objective's metrics, averaged over the rows since the last log, in all processes."""
        if "loss" in logs:
            totals = self.accelerator.reduce(self._since_last_log.totals(), reduction="sum")
            logs |= self._since_last_log.means(totals)
            self._since_last_log.clear()
        super().log(logs, start_time)
        if not self._warned and (words := displacement_warning(self.state.log_history)):
            self._warned = True
            logger.warning("%s", words)
