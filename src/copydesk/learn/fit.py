"""Training in memory: from a model, token triples and reference log-probabilities to a trained policy."""

import copy as copying
import math
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel, TrainingArguments, set_seed

from copydesk.errors import InputError
from copydesk.learn.encode import Triple
from copydesk.learn.logprobs import TripleLogProbs, score_triples
from copydesk.learn.models import device
from copydesk.learn.settings import TrainSettings
from copydesk.learn.trainer import EditTrainer, examples


class Fitted(NamedTuple):
    """A trained policy and how its training went.

    Attributes:
        model: with a LoRA adapter, or, after full training, an ordinary model; in evaluation mode.
        history: what was logged, about twenty times over the run: step, epoch, loss and the objective's metrics.
    """

    model: PreTrainedModel | PeftModel
    history: list[dict[str, float]]


def reference_logprobs(model: nn.Module, triples: Sequence[Triple], batch_size: int = 8) -> TripleLogProbs:
    """log π_ref of every y' and y: one pass, which the training of every method on these triples can share."""
    return score_triples(model, triples, batch_size=batch_size, description="reference")


def fit(
    model: PreTrainedModel,
    triples: Sequence[Triple],
    references: TripleLogProbs,
    settings: TrainSettings,
    *,
    copy: bool = True,
) -> Fitted:
    """Train a policy on triples, starting at the reference policy.

    On one CPU the same arguments give the same weights, bit for bit. Seeds Python's, NumPy's and torch's global
    random numbers.

    Args:
        model: π_ref.
        triples: the rows to learn from.
        references: `reference_logprobs(model, triples)`.
        settings: all but `held_out`, `max_length` and `dtype`, which are decided before, matter here.
        copy: train a copy and leave `model` as it is; `False` saves its memory and changes `model`.

    Raises:
        InputError: no row of `triples` is edited, so that there is nothing to learn from edits; or training diverged.
    """
    if not any(triple.edited for triple in triples):
        raise InputError("nobody edited anything in this log, so it holds nothing to learn from; log some edits first")
    rows = examples(triples, references, settings.method)
    use_cache = model.config.use_cache
    set_seed(settings.seed)
    policy: Any = copying.deepcopy(model) if copy else model
    _without_dropout(policy)
    if settings.full:
        policy.requires_grad_(True)
    else:
        policy = get_peft_model(policy, _lora(settings))
    with tempfile.TemporaryDirectory(prefix="copydesk-") as scratch:
        trainer = EditTrainer(policy, _arguments(settings, scratch), rows, settings)
        trainer.train()
    policy.config.use_cache = use_cache  # `Trainer` turns it off, and generation would be slow ever after
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    _check_finite(policy, history)
    return Fitted(policy.eval(), history)


def _without_dropout(model: nn.Module) -> None:
    """Dropout would make π differ from π_ref before anything is learnt."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def _check_finite(policy: nn.Module, history: list[dict[str, float]]) -> None:
    weights = (weight for weight in policy.parameters() if weight.requires_grad)
    if not all(math.isfinite(entry["loss"]) for entry in history) or not all(w.isfinite().all() for w in weights):
        raise InputError("training diverged: the loss is no longer a finite number; lower the learning rate (--lr)")


def _lora(settings: TrainSettings) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
    )


def _arguments(settings: TrainSettings, scratch: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=scratch,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_ratio,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        activation_checkpointing=settings.checkpointing,
        max_grad_norm=settings.clip,
        seed=settings.seed,
        logging_steps=0.05,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,  # `EditTrainer` brings a bar that stays off stdout
        remove_unused_columns=False,
        dataloader_pin_memory=device().type == "cuda",
        use_cpu=device().type == "cpu",
    )
