"""Atomic checkpoints, so that training can be killed at any time and resumed, and a graceful stop on signals."""

import logging
import os
import re
import secrets
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from copydesk.errors import InputError

_CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")
_NO_CHECKPOINT_YET = "there is no checkpoint yet: free some space and start again"
_WRITING, _REMOVING = ".writing-", ".removing-"

# Tokenizer, configuration, log and the state of the random numbers.
_SMALL_FILES_BYTES = 32 * 2**20


class AtomicCheckpoints(Trainer):
    """A `Trainer` that keeps only its newest checkpoint, and never a partial one.

    All processes write a checkpoint into a hidden folder, which is synced to disk and then renamed to
    `checkpoint-STEP`; after that the previous one is removed. With several machines the output folder must be on a
    shared disk, as sharded checkpoints need anyway.

    Where `Trainer` itself saves the weights (neither FSDP nor DeepSpeed), only trained weights are saved, under their
    names in memory. `save_pretrained` would give mixtures of experts the names of their release, under which `Trainer`
    then does not find them, and would query the hub for an adapter's base every time.

    A resumed run ends with the same weights and the same log as an uninterrupted one: every checkpoint comes with a
    log entry, because the losses accumulated since the last entry are not part of it.
    """

    _staging_folder: Path | None = None

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save atomically; a full or missing disk is an `InputError`."""
        folder, step = self._folder, self.state.global_step
        name = f"checkpoint-{step}"
        self._staging_folder = folder / f"{_WRITING}{name}"
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                _fsync_folder(self._staging_folder)
                _remove_checkpoint(folder / name)
                (self._staging_folder / name).rename(folder / name)
        except BaseException as exc:
            reason = _describe_write_error(exc)
            if reason is None:
                raise
            last = find_last_checkpoint(folder)
            raise InputError(
                f"{folder}: the checkpoint of step {step} could not be written ({reason}), so training stopped; "
                + (
                    f"the last complete one is of step {_parse_step(last)}: free some space and --resume"
                    if last
                    else _NO_CHECKPOINT_YET
                )
            ) from None
        finally:
            if self.args.should_save:
                shutil.rmtree(self._staging_folder, ignore_errors=True)
            self._staging_folder = None
        if self.args.should_save:
            for other in _list_checkpoints(folder):
                if other.name != name:
                    _remove_checkpoint(other)

    @property
    def _folder(self) -> Path:
        return Path(str(self.args.output_dir))

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging_folder) if self._staging_folder else super()._get_output_dir(trial)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in `Trainer`; in a checkpoint, only the trained weights, under their names in memory."""
        if self._staging_folder is None or output_dir is None or self.is_distributed_loading_by_transformers:
            super().save_model(output_dir, _internal_call)
        elif self.args.should_save and not self.is_fsdp_enabled and not self.is_deepspeed_enabled:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            weights = {name: weight.detach().contiguous() for name, weight in self._trained().items()}
            save_file(weights, Path(output_dir) / SAFE_WEIGHTS_NAME, metadata={"format": "pt"})

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Accept missing untrained weights; any other difference means that the checkpoint is of another run."""
        missing = self._trained().keys() & set(load_result.missing_keys)
        if wrong := [*missing, *load_result.unexpected_keys]:
            raise InputError(f"{self._folder}: the checkpoint is of another model (weight {wrong[0]}); start over")

    def _trained(self) -> dict[str, nn.Parameter]:
        assert isinstance(self.model, nn.Module)
        return _trainable_weights(self.model)

    def _init_training_state(self, max_steps: int, *others: Any) -> tuple[int, int]:
        if self.args.should_save:
            remove_leftovers(self._folder)
        start: tuple[int, int] = super()._init_training_state(max_steps, *others)
        # A resumed state has the logging and saving intervals of the earlier run; use those of this run.
        self.state.compute_steps(self.args, max_steps)  # type: ignore[no-untyped-call]
        return start

    def _run_epoch(self, model: Any, epoch: Any, train_dataloader: Any, *args: Any, **kwargs: Any) -> None:
        # Resumed from the checkpoint of the last step, `Trainer` would train one step too many.
        if self.state.global_step < self.state.max_steps:
            # With several processes `Trainer` does not set the epoch of the sampler if it resumes within an epoch.
            train_dataloader.set_epoch(epoch)
            super()._run_epoch(model, epoch, train_dataloader, *args, **kwargs)  # type: ignore[no-untyped-call]

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        self.control.should_log |= self.control.should_save
        super()._maybe_log_save_evaluate(*args, **kwargs)


def find_last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a run's folder; `None` if there is no checkpoint or no folder."""
    return max(_list_checkpoints(folder), key=_parse_step, default=None)


def remove_leftovers(folder: Path) -> None:
    """Remove partially written or removed checkpoints of a killed run; called when training begins."""
    for prefix in (_WRITING, _REMOVING):
        for leftover in folder.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)


def estimate_disk_bytes(policy: nn.Module, *, resumed: bool = False) -> int:
    """Disk space that a training run needs, in bytes.

    That is two checkpoints, because the newest is kept until the next is complete, and the policy itself. A checkpoint
    holds the trained weights and AdamW's two moments of each, in the precision of the weights.

    Args:
        policy: the model to train; the trained weights require gradients.
        resumed: whether one of the two checkpoints exists already.
    """
    weights = sum(weight.numel() * weight.element_size() for weight in _trainable_weights(policy).values())
    return weights * (4 if resumed else 7) + _SMALL_FILES_BYTES


def check_disk_space(folder: Path, needed: int, what: str) -> None:
    """Check before training that a folder can be written to and its disk has enough free space.

    Args:
        folder: need not exist yet.
        needed: bytes.
        what: what will be written, for the message: "checkpoints and the policy".

    Raises:
        InputError: no file can be created there, or less than `needed` is free.
    """
    place = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".copydesk-"):
            free = shutil.disk_usage(place).free
    except OSError as exc:
        raise InputError(
            f"--out {folder}: cannot be written ({(exc.strerror or str(exc)).lower()}); choose another folder"
        ) from None
    if free < needed:
        raise InputError(
            f"--out {folder}: needs about {_format_size(needed)} for {what}, and {_format_size(free)} is free; free "
            f"some space or "
            "name a folder on another disk"
        )


def _list_checkpoints(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if _CHECKPOINT_NAME.fullmatch(path.name) and (path / TRAINER_STATE_NAME).is_file()]


def _parse_step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _trainable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that require gradients; tied weights once."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _remove_checkpoint(checkpoint: Path) -> None:
    """Remove a folder, if it exists, renaming it first so that no partial checkpoint is left under its name."""
    if checkpoint.exists():
        aside = checkpoint.with_name(f"{_REMOVING}{checkpoint.name}-{secrets.token_hex(4)}")
        checkpoint.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _fsync_folder(folder: Path) -> None:
    """Sync every file in a folder to disk; some disks only now report that they are full."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def _describe_write_error(exc: BaseException) -> str | None:
    """Why a file could not be written; `None` for an exception of another kind."""
    if isinstance(exc, CheckpointException):  # the exceptions of all processes of a sharded save
        return next(filter(None, (_describe_write_error(cause) for cause, _ in exc.failures.values())), None)
    if isinstance(exc, OSError):
        return (exc.strerror or str(exc)).lower()
    if isinstance(exc, SafetensorError):
        return str(exc).rpartition(": ")[2].lower()
    if isinstance(exc, RuntimeError) and "inline_container" in str(exc):  # torch's writer, without a reason
        return "the disk is full or gone"
    return None


def _format_size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


logger = logging.getLogger(__name__)


class StopOnSignal(TrainerCallback):
    """On SIGINT or SIGTERM, let the trainer finish its step, save a checkpoint and stop.

    A callback that is also a context manager: it installs its signal handlers on entry and restores the previous ones
    on exit. A second signal restores them at once and is raised again. Outside the main thread, where Python allows no
    handlers, entering does nothing. An ignored signal stays ignored.

    After a signal during the last step training ends normally; `stop_signal` is set all the same.

    With several processes, all stop after the same step when any of them receives a signal.

    Attributes:
        stop_signal: the signal received, once training has ended; `None` if there was none.
    """

    def __init__(self) -> None:
        self.stop_signal: int | None = None
        self._received_signal = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # `None` is a handler that was not set from Python and cannot be restored.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._handle_signal)
        return self

    def __exit__(self, *_: object) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        if self._received_signal:
            self.__exit__()
            signal.raise_signal(number)
            return
        self._received_signal = number
        logger.warning("finishing this step and saving; interrupt again to stop at once")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Stop if any process received a signal; save and log at the same step, so that no loss is missing."""
        if self._reduce_signal(args) and state.global_step < state.max_steps:
            control.should_save = control.should_log = control.should_training_stop = True
        return control

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Remember a signal that ended training or came in its last step."""
        self.stop_signal = self._reduce_signal(args) or None
        return control

    def _reduce_signal(self, args: TrainingArguments) -> int:
        """The signal received by any process, the same in all of them; 0 if none."""
        if not (dist.is_available() and dist.is_initialized()):
            return self._received_signal
        received = torch.tensor(self._received_signal, device=args.device)
        dist.all_reduce(received, op=dist.ReduceOp.MAX)
        return int(received)
