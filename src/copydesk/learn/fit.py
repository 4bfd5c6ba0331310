"""Training in memory: from a model, token triples and reference log-probabilities to a trained policy."""

import copy as copying
import math
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments, set_seed

from copydesk.errors import InputError, Interrupted
from copydesk.learn import processes
from copydesk.learn.checkpoints import bytes_needed, check_space, last_checkpoint
from copydesk.learn.encode import Triple
from copydesk.learn.interrupts import StopOnSignal
from copydesk.learn.logprobs import Forward, TripleLogProbs
from copydesk.learn.models import device
from copydesk.learn.probe import fitting_forward
from copydesk.learn.scoring import longest, score_triples
from copydesk.learn.settings import TrainSettings
from copydesk.learn.trainer import EditTrainer, examples


@dataclass(frozen=True)
class Fitted:
    """A trained policy and how its training went.

    Attributes:
        model: with a LoRA adapter, or, after full training, an ordinary model; in evaluation mode.
        history: what was logged, about twenty times over the run: step, epoch, loss and the objective's metrics.
        forward: how the model was run on triples.
        shards: where processes share out the weights (FSDP, DeepSpeed), the model to run, in all of them together.
        weights: then, in the main process, all weights of the model.
    """

    model: PreTrainedModel | PeftModel
    history: list[dict[str, float]]
    forward: Forward
    shards: nn.Module | None = None
    weights: dict[str, Tensor] | None = None

    def score(self, triples: Sequence[Triple], batch_size: int = 8) -> TripleLogProbs:
        """log π of every y' and y under the trained policy; in several processes, called by all of them."""
        return score_triples(
            self.shards or self.model,
            triples,
            batch_size=batch_size,
            forward=self.forward,
            share=self.shards is None,
            description="held out",
        )


def reference_logprobs(
    model: nn.Module, triples: Sequence[Triple], batch_size: int = 8, forward: Forward | None = None
) -> TripleLogProbs:
    """log π_ref of every y' and y: one pass, which the training of every method on these triples can share.

    Several processes divide the triples among them.
    """
    return score_triples(model, triples, batch_size=batch_size, forward=forward, share=True, description="reference")


def fit(
    model: PreTrainedModel,
    triples: Sequence[Triple],
    references: TripleLogProbs,
    settings: TrainSettings,
    *,
    copy: bool = True,
    forward: Forward | None = None,
    checkpoints: Path | None = None,
) -> Fitted:
    """Train a policy on triples, starting at the reference policy.

    On one CPU the same arguments give the same weights, bit for bit, also when the run was interrupted and resumed.
    Seeds Python's, NumPy's and torch's global random numbers.

    Args:
        model: π_ref.
        triples: the rows to learn from.
        references: `reference_logprobs(model, triples)`.
        settings: all but `held_out`, `max_length`, `weigh` and `dtype`, which are decided before, matter here.
        copy: train a copy and leave `model` as it is; `False` saves its memory and changes `model`.
        forward: how to run the model; found out if not given.
        checkpoints: the folder to keep the newest checkpoint in, or where there is one already, to go on from. While
            training with one, SIGINT and SIGTERM save a checkpoint and stop.

    Raises:
        InputError: no row of `triples` is edited, so that there is nothing to learn from edits; training diverged; or
            the disk is too full for the checkpoints.
        Interrupted: a signal came; what was learnt is in the checkpoint.
    """
    if not any(triple.edited for triple in triples):
        raise InputError("nobody edited anything in this log, so it holds nothing to learn from; log some edits first")
    rows = examples(triples, references, settings.method)
    if not any(row.triple.weight for row in rows):
        raise InputError("every row to train on weighs 0, so there is nothing to learn from; weigh them otherwise")
    forward = forward or fitting_forward(model, longest(triples))
    use_cache = model.config.use_cache
    set_seed(settings.seed)
    policy: Any = copying.deepcopy(model) if copy else model
    _without_dropout(policy)
    if settings.full:
        policy.requires_grad_(True)
    else:
        policy = get_peft_model(policy, _lora(settings))
    start = None if checkpoints is None else last_checkpoint(checkpoints)
    with ExitStack() as stack:
        if checkpoints is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="copydesk-")))
        else:
            folder = checkpoints
            if processes.is_main():
                check_space(folder, bytes_needed(policy, resumed=start is not None), "checkpoints and the policy")
        arguments = _arguments(settings, folder, save=checkpoints is not None)
        trainer = EditTrainer(policy, arguments, rows, settings, forward)
        stop = StopOnSignal()
        if checkpoints is not None:
            trainer.add_callback(stack.enter_context(stop))
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    if stop.stopped is not None:
        state = trainer.state
        raise Interrupted(
            stop.stopped,
            f"interrupted after step {state.global_step} of {state.max_steps}, which is saved; give the same command "
            "with --resume to go on",
        )
    policy.config.use_cache = use_cache  # `Trainer` turns it off, and generation would be slow ever after
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    _check_finite(policy, history)
    policy.eval()
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return Fitted(policy, history, forward)
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    tied = getattr(policy, "all_tied_weights_keys", None) or {}
    whole = {name: weight for name, weight in (weights or {}).items() if name not in tied}
    return Fitted(policy, history, forward, trainer.model_wrapped, whole)


def _without_dropout(model: nn.Module) -> None:
    """Dropout would make π differ from π_ref before anything is learnt."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def _check_finite(policy: nn.Module, history: list[dict[str, float]]) -> None:
    # A sharded weight's norm is a number that all processes agree on.
    norms = (torch.linalg.vector_norm(weight.detach()) for weight in policy.parameters() if weight.requires_grad)
    if not all(math.isfinite(entry["loss"]) for entry in history) or not all(math.isfinite(float(n)) for n in norms):
        raise InputError("training diverged: the loss is no longer a finite number; lower the learning rate (--lr)")


def _lora(settings: TrainSettings) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
    )


def _arguments(settings: TrainSettings, folder: Path, save: bool) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder),
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
        save_strategy="steps" if save else "no",
        save_steps=settings.save_every,
        report_to="none",
        disable_tqdm=True,  # `EditTrainer` brings a bar that stays off stdout
        remove_unused_columns=False,
        dataloader_pin_memory=device().type == "cuda",
        use_cpu=device().type == "cpu",
        log_level_replica="error",  # of the other processes
        ddp_find_unused_parameters=False,  # every pass uses every weight
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are for several processes, not for DataParallel
    return arguments
