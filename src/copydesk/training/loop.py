"""Run a trainer: common training arguments, resuming, interruption by signals, and a check for divergence."""

import math
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from copydesk.errors import InputError, Interrupted
from copydesk.models.load import get_device
from copydesk.training import distributed
from copydesk.training.checkpoints import StopOnSignal, check_disk_space, estimate_disk_bytes, find_last_checkpoint
from copydesk.training.config import TrainConfig

T = TypeVar("T", bound=Trainer)


def build_common_arguments(settings: TrainConfig, folder: Path, *, save: bool) -> dict[str, Any]:
    """Arguments of `TrainingArguments` and its subclasses that are the same for every method.

    Args:
        settings: of the run.
        folder: for checkpoints.
        save: whether to save checkpoints.
    """
    return {
        "output_dir": str(folder),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "learning_rate": settings.effective_learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": settings.warmup_ratio,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.accumulate,
        "max_grad_norm": settings.clip,
        "seed": settings.seed,
        "logging_steps": 0.05,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if save else "no",
        "save_steps": settings.save_every,
        "report_to": "none",
        "disable_tqdm": True,  # our trainers have a progress bar that does not write to stdout
        "remove_unused_columns": False,
        "dataloader_pin_memory": get_device().type == "cuda",
        "use_cpu": get_device().type == "cpu",
        "log_level_replica": "error",  # in all processes but the main one
        "ddp_find_unused_parameters": False,  # every pass uses every weight
    }


def build_training_arguments(settings: TrainConfig, folder: Path, *, save: bool) -> TrainingArguments:
    """The `TrainingArguments` of a run."""
    arguments = TrainingArguments(
        **build_common_arguments(settings, folder, save=save), activation_checkpointing=settings.checkpointing
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs are for several processes, not for DataParallel
    return arguments


def run_trainer(make: Callable[[Path], T], checkpoints: Path | None) -> T:
    """Make a trainer and run it to the end, from its newest checkpoint if there is one.

    Args:
        make: makes the trainer for a folder of checkpoints.
        checkpoints: that folder; while training with one, SIGINT and SIGTERM save a checkpoint and stop. `None` saves
            none.

    Raises:
        InputError: the disk is too full for the checkpoints; or training diverged.
        Interrupted: by a signal; the progress is in the checkpoint.
    """
    start = None if checkpoints is None else find_last_checkpoint(checkpoints)
    with ExitStack() as stack:
        folder = checkpoints or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="copydesk-")))
        trainer = make(folder)
        model: Any = trainer.model
        if checkpoints is not None and distributed.is_main_process():
            check_disk_space(
                folder, estimate_disk_bytes(model, resumed=start is not None), "checkpoints and the policy"
            )
        stop = StopOnSignal()
        if checkpoints is not None:
            trainer.add_callback(stack.enter_context(stop))
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    if stop.stop_signal is not None:
        state = trainer.state
        raise Interrupted(
            stop.stop_signal,
            f"interrupted after step {state.global_step} of {state.max_steps}, which is saved; give the same command "
            "with --resume to continue",
        )
    _check_finite(model, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    return trainer


def disable_dropout(model: nn.Module) -> None:
    """Set dropout to 0: it would make π differ from π_ref before the first step."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def _check_finite(model: nn.Module, losses: list[float]) -> None:
    # A sharded weight's norm is a number that all processes agree on.
    norms = (torch.linalg.vector_norm(weight.detach()) for weight in model.parameters() if weight.requires_grad)
    if not all(math.isfinite(loss) for loss in losses) or not all(math.isfinite(float(norm)) for norm in norms):
        raise InputError("training diverged: the loss is no longer a finite number; lower the learning rate (--lr)")
