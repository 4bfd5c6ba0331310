"""Fit a cost model and its members to a log, in memory and in the same passes."""

import copy as copying
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments, set_seed
from transformers.trainer_utils import TrainOutput

from copydesk.training import distributed
from copydesk.training.base_trainer import RowTrainer
from copydesk.training.config import TrainConfig
from copydesk.training.cost_model.model import CostModel, TokenizedAnswer, compute_confidence_set
from copydesk.training.encode import Triple
from copydesk.training.fit import check_edited, check_row_weights
from copydesk.training.logprobs import ForwardPlan, choose_forward, compute_longest_length
from copydesk.training.loop import build_training_arguments, run_trainer
from copydesk.training.row_costs import check_costs, compute_mean_cost


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
    couples the fits: the result of one does not depend on how many there are.

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
        """As in `Trainer`, with the attention that packed rows need."""
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
        # A padding row has weight 0, and predictions are finite, so its error becomes 0.
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


logger = logging.getLogger(__name__)


def fit_cost_model(
    model: PreTrainedModel,
    triples: Sequence[Triple],
    settings: TrainConfig,
    *,
    forward: ForwardPlan | None = None,
    checkpoints: Path | None = None,
) -> CostModel:
    """Fit f̂ and its members to the costs of a log: f̂ = argmin_f mean_i (f(x_i, y_i) - c_i)².

    On one CPU the same arguments give the same weights, bit for bit, also when the run was interrupted and resumed.
    Seeds Python's, NumPy's and torch's global random numbers.

    Args:
        model: the base of the cost model; it is copied and left unchanged.
        triples: the rows, each with its cost.
        settings: `cost`, and how rows make up batches and steps.
        forward: how to run the model; by default `choose_forward` decides.
        checkpoints: as for `fit_policy`.

    Raises:
        InputError: no row is edited; a cost is missing or not a cost; training diverged; the disk is too full.
        Interrupted: by a signal; the progress is in the checkpoint.
    """
    check_edited(triples)
    check_row_weights(triples)
    check_costs(triples, settings.cost.c_max)
    forward = forward or choose_forward(model, compute_longest_length(triples))
    set_seed(settings.seed)
    weights = torch.tensor([triple.weight for triple in triples])
    costs = torch.tensor([triple.cost for triple in triples])
    mean = compute_mean_cost(triples)
    cost_model = CostModel(copying.deepcopy(model), settings.cost, forward, mean)
    variance = float((weights * (costs - mean).square()).sum() / weights.sum())
    answers = [(triple.context, triple.response) for triple in triples]
    cost_model.randomize_members(answers[:32], settings.cost.prior * variance**0.5, settings.seed)
    cost_model.train()
    rows = _build_cost_rows(triples, settings)
    batch = min(settings.batch_size, settings.cost.rows_per_step)
    own = settings.replace(
        epochs=settings.cost.epochs,
        max_steps=None,
        learning_rate=settings.cost.learning_rate,
        batch_size=batch,
        accumulate=max(1, settings.cost.rows_per_step // (batch * distributed.get_world_size())),
        checkpointing=False,
    )

    def make(folder: Path) -> CostTrainer:
        arguments = build_training_arguments(own, folder, save=checkpoints is not None)
        arguments.max_grad_norm = 0.0
        return CostTrainer(cost_model, arguments, rows)

    run_trainer(make, checkpoints)
    cost_model.eval()
    predictions = cost_model.predict(answers, quiet=False)
    errors = (weights[:, None] * (predictions - costs[:, None]).square()).sum(dim=0) / weights.sum()
    cost_model.within.copy_(compute_confidence_set(errors, settings.cost.gamma * variance))
    if variance > 0 and settings.cost.members and int(cost_model.within.sum()) == 1:
        logger.warning(
            "no member explains the log nearly as well as the fit itself, so --pessimism max is the fit alone; "
            "raise --cost-epochs, --cost-lr or --gamma, or lower --prior"
        )
    return cost_model


def draw_resamples(rows: int, members: int, seed: int) -> np.ndarray:
    """Number of times that each row is in each fit's sample of the log: int64 of shape [rows, 1 + members].

    The first column is the log itself. The others are bootstrap resamples, as many rows drawn with replacement; a
    member's does not depend on how many there are.
    """
    columns = [np.ones(rows, dtype=np.int64)]
    for member in range(1, members + 1):
        draw = np.random.default_rng([seed, member]).integers(rows, size=rows)
        columns.append(np.bincount(draw, minlength=rows))
    return np.stack(columns, axis=1)


def _build_cost_rows(triples: Sequence[Triple], settings: TrainConfig) -> list[CostRow]:
    """The rows to train on: y with its cost and, with `free_rows`, y' with cost 0."""
    rows = []
    for triple, drawn in zip(triples, draw_resamples(len(triples), settings.cost.members, settings.seed), strict=True):
        counts = tuple(int(count) for count in drawn)
        rows.append(CostRow((triple.context, triple.response), float(triple.cost or 0.0), triple.weight, counts))
        if settings.cost.free_rows and triple.edited:
            rows.append(CostRow((triple.context, triple.edit), 0.0, triple.weight, counts))
    return rows
