"""Fit a policy in memory, from token triples and reference log-probabilities, and measure it on held-out rows."""

import copy as copying
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel, set_seed

from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.training.config import TrainConfig
from copydesk.training.encode import Triple
from copydesk.training.logprobs import (
    ForwardPlan,
    TripleLogProbs,
    choose_forward,
    compute_longest_length,
    score_triples,
)
from copydesk.training.loop import build_training_arguments, disable_dropout, run_trainer
from copydesk.training.objectives import BatchLogProbs, compute_early_ensemble_loss
from copydesk.training.row_costs import check_costs
from copydesk.training.trainer import EditTrainer, RunningMeans, build_examples


@dataclass(frozen=True)
class FitResult:
    """A trained policy and how its training went.

    Attributes:
        model: with a LoRA adapter, or, after full training, an ordinary model; in evaluation mode.
        history: log entries, about twenty over the run: step, epoch, loss and the objective's metrics.
        forward: how the model was run on triples.
        sharded_model: where the weights are sharded (FSDP, DeepSpeed), the model to run, in all processes together.
        full_state_dict: in that case, all weights of the model, in the main process.
    """

    model: PreTrainedModel | PeftModel
    history: list[dict[str, float]]
    forward: ForwardPlan
    sharded_model: nn.Module | None = None
    full_state_dict: dict[str, Tensor] | None = None

    def score(self, triples: Sequence[Triple], batch_size: int = 8) -> TripleLogProbs:
        """log π of every y' and y under the trained policy; in several processes, called by all of them."""
        return score_triples(
            self.sharded_model or self.model,
            triples,
            batch_size=batch_size,
            forward=self.forward,
            distribute=self.sharded_model is None,
            description="held out",
        )


def compute_reference_logprobs(
    model: nn.Module, triples: Sequence[Triple], batch_size: int = 8, forward: ForwardPlan | None = None
) -> TripleLogProbs:
    """log π_ref of every y' and y: one pass, which the training of every method on these triples can share.

    Several processes divide the triples among them.
    """
    return score_triples(
        model, triples, batch_size=batch_size, forward=forward, distribute=True, description="reference"
    )


def fit_policy(
    model: PreTrainedModel,
    triples: Sequence[Triple],
    references: TripleLogProbs,
    settings: TrainConfig,
    *,
    copy: bool = True,
    forward: ForwardPlan | None = None,
    checkpoints: Path | None = None,
) -> FitResult:
    """Train a policy on triples, starting at the reference policy.

    On one CPU the same arguments give the same weights, bit for bit, also when the run was interrupted and resumed.
    Seeds Python's, NumPy's and torch's global random numbers.

    Args:
        model: π_ref.
        triples: the rows to learn from.
        references: `compute_reference_logprobs(model, triples)`.
        settings: of the run; `held_out`, `max_length`, `weigh` and `dtype` have been applied before and are not read.
        copy: train a copy and leave `model` as it is; `False` saves its memory and changes `model`.
        forward: how to run the model; by default `choose_forward` decides.
        checkpoints: the folder for the newest checkpoint, from which training resumes if there is one. While training
            with one, SIGINT and SIGTERM save a checkpoint and stop.

    Raises:
        InputError: no row of `triples` is edited, so that there is nothing to learn from edits; a row lacks the cost
            that the method needs; training diverged; or the disk is too full for the checkpoints.
        Interrupted: by a signal; the progress is in the checkpoint.
    """
    check_edited(triples)
    if settings.uses_costs:
        check_costs(triples, settings.cost.c_max)
    rows = build_examples(triples, references, settings.method)
    check_row_weights([row.triple for row in rows])
    forward = forward or choose_forward(model, compute_longest_length(triples))
    use_cache = model.config.use_cache
    set_seed(settings.seed)
    policy: Any = copying.deepcopy(model) if copy else model
    disable_dropout(policy)
    if settings.full:
        policy.requires_grad_(True)
    else:
        policy = get_peft_model(policy, build_lora_config(settings))

    def make(folder: Path) -> EditTrainer:
        return EditTrainer(
            policy, build_training_arguments(settings, folder, save=checkpoints is not None), rows, settings, forward
        )

    trainer = run_trainer(make, checkpoints)
    policy.config.use_cache = use_cache  # `Trainer` turns it off, and generation would stay slow
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    policy.eval()
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return FitResult(policy, history, forward)
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    tied = getattr(policy, "all_tied_weights_keys", None) or {}
    whole = {name: weight for name, weight in (weights or {}).items() if name not in tied}
    return FitResult(policy, history, forward, trainer.model_wrapped, whole)


def check_edited(triples: Sequence[Triple]) -> None:
    """Refuse rows without any edit.

    Raises:
        InputError: no row is edited.
    """
    if not any(triple.edited for triple in triples):
        raise InputError("nobody edited anything in this log, so it holds nothing to learn from; log some edits first")


def check_row_weights(triples: Sequence[Triple]) -> None:
    """Refuse rows that all have weight 0.

    Raises:
        InputError: every row weighs 0.
    """
    if not any(triple.weight for triple in triples):
        raise InputError("every row to train on has weight 0, so nothing can be learned; change --row-weighting")


def build_lora_config(settings: TrainConfig) -> LoraConfig:
    """The adapter that a policy is trained with."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
    )


def compute_held_out_metrics(
    triples: Sequence[Triple],
    policy: TripleLogProbs,
    references: TripleLogProbs,
    settings: TrainConfig,
    baseline_value: float = 0.0,
) -> dict[str, float]:
    """Measure a policy on triples, from its log-probabilities and the reference policy's.

    Args:
        triples: the rows, with their weights in every mean.
        policy: their log-probabilities under the policy.
        references: those under the reference policy.
        settings: the method and what its objective needs.
        baseline_value: V of `compute_offline_cost_loss`, where the method uses costs.

    Returns:
        The same figures for every method, so that methods compare. `loss`, the method's own objective; not for `rl`,
        whose objective is a mean over the policy's own responses (see `compute_sampled_metrics`). Means over the rows,
        defined in `copydesk.training.trainer`: `loss/supervised`, `logp/edit`, `logp_gain/edit`, `kl` and
        `no_preference`, and, where any row was edited, `loss/preference`, `margin`, `accuracy`, `logp/response`,
        `logp_gain/response` and `logp_gain/preferred`; other metrics of the method's objective; and
        `logp_per_token/edit`. Empty where there are no triples of a weight above 0.
    """
    weights = torch.tensor([triple.weight for triple in triples])
    if not weights.any():
        return {}
    batch = BatchLogProbs(
        policy.edit,
        policy.response,
        references.edit,
        references.response,
        torch.tensor([triple.edited for triple in triples]),
        weights,
        torch.tensor([triple.cost or 0.0 for triple in triples]),
        baseline_value=baseline_value,
    )
    options = settings.preference_options() | {"lambda_sup": settings.lambda_sup, "weights": weights}
    _, metrics = compute_early_ensemble_loss(*batch[:5], **options)
    method = METHODS[settings.method]
    own: dict[str, float] = {}
    if not method.on_policy:
        loss, own_metrics = method.loss(batch, settings)
        own, metrics = {"loss": loss.item()}, metrics | own_metrics
    means = RunningMeans()
    means.add(metrics, weights)
    figures = means.means()
    lengths = torch.tensor([float(len(triple.edit)) for triple in triples])
    mean_length = (weights * lengths).sum().item() / weights.sum().item()
    return own | figures | {"logp_per_token/edit": figures["logp/edit"] / mean_length}
