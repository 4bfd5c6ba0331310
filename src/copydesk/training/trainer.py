"""`EditTrainer`: a `transformers.Trainer` that learns from edits."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import TrainingArguments
from transformers.trainer_utils import TrainOutput

from copydesk.training.base_trainer import RowTrainer
from copydesk.training.config import Method, TrainConfig
from copydesk.training.displacement import displacement_warning
from copydesk.training.encode import Triple
from copydesk.training.logprobs import ForwardPlan, TripleLogProbs, batch_logprobs
from copydesk.training.metrics import RunningMeans
from copydesk.training.objectives import (
    RowMetrics,
    compute_early_ensemble_loss,
    compute_preference_loss,
    compute_supervised_loss,
    soft_min_value,
)
from copydesk.training.probe import choose_forward
from copydesk.training.scoring import compute_longest_length

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
