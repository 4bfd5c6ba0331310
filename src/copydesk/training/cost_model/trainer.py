"""`CostTrainer`: a `transformers.Trainer` that fits a cost model and its members to a log, all in the same passes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import TrainingArguments
from transformers.trainer_utils import TrainOutput

from copydesk.training.base_trainer import RowTrainer
from copydesk.training.cost_model.model import CostModel, TokenizedAnswer


class CostRow(NamedTuple):
    """An answer with its cost.

    `counts` is how often each fit's resample of the log holds it, `weight` how much it counts each time.
    """

    answer: TokenizedAnswer
    cost: float
    weight: float
    counts: tuple[int, ...]


class CostTrainer(RowTrainer):
    """Minimises, for each fit k at once, Σ_i w_i n_ik (f_k(x_i, y_i) - c_i)² / Σ_i w_i.

    A bootstrap resample is the same rows with counts n_ik, so one pass over the lower layers serves every fit. Nothing
    couples the fits: what one learns does not depend on how many there are.

    Args:
        model: the cost model.
        args: as for `transformers.Trainer`, with no clipping of the gradient, which would couple the fits.
        rows: the rows.
    """

    def __init__(self, model: CostModel, args: TrainingArguments, rows: Sequence[CostRow]) -> None:
        self._cost_model = model
        padding = CostRow(((0,), (0,)), 0.0, 0.0, (0,) * len(model.fit_names))
        super().__init__(model, args, rows, padding, self._collate)

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `Trainer` does, with the attention that packed rows need."""
        with self._cost_model.forward_plan.use_attention(self._cost_model.base):
            return super().train(*args, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """This batch's part of the step's loss: the sum over the fits of their mean squared errors."""
        weight, cost = inputs["weight"], inputs["cost"]
        predicted = model(inputs, len(cost))
        # A row of padding weighs 0, and no prediction is so wrong that this would not make it 0.
        errors = ((predicted - cost[:, None]).square() * inputs["counts"]).sum(dim=1) * weight
        loss = errors.sum() / (weight.sum() if num_items_in_batch is None else num_items_in_batch)
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes, the parts add up
        return (loss, {"predicted": predicted.detach()}) if return_outputs else loss

    def _collate(self, rows: Sequence[CostRow]) -> dict[str, Tensor]:
        return self._cost_model.lay_out_answers([row.answer for row in rows]) | {
            "cost": torch.tensor([row.cost for row in rows]),
            "weight": torch.tensor([row.weight for row in rows]),
            "counts": torch.tensor([row.counts for row in rows], dtype=torch.float32),
        }
