"""Base class of the trainers on rows of a log: row order, weighted steps, FSDP2 settings and progress display.

The order of an epoch's rows is the same for one process and for many, so that a run can be resumed and repeated.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from copydesk.training.checkpoints import AtomicCheckpoints


class EpochSampler(Sampler[int]):
    """A shuffle that depends only on the seed and the epoch, so that a resumed run sees the same rows.

    Every process must have the same number of batches. Missing rows are filled with the index `row_count`, where the
    trainer keeps a row of weight 0; repeating rows, as samplers usually do, would count some of them twice.

    Args:
        row_count: number of rows.
        multiple: number of processes times rows per batch; 1 for one process.
        seed: of the shuffle.
    """

    def __init__(self, row_count: int, multiple: int, seed: int) -> None:
        self.row_count, self.multiple, self.seed = row_count, multiple, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.row_count // self.multiple) * self.multiple

    def __iter__(self) -> Iterator[int]:
        # The shuffle that Accelerate's own sampler gives.
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = torch.randperm(self.row_count, generator=generator).tolist()
        yield from order
        yield from [self.row_count] * (len(self) - self.row_count)


class ShardedTrainer(Trainer):
    """A `Trainer` that shards on CPUs too, and whose model's log-probabilities stay float32 in mixed precision."""

    def create_accelerator_and_postprocess(self) -> None:
        """As in `Trainer`, then turn FSDP on if the launcher asked for it."""
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        wanted = os.environ.get("ACCELERATE_USE_FSDP") == "true"
        if wanted and self.accelerator.distributed_type == DistributedType.MULTI_CPU:
            # Without GPUs Accelerate silently copies the model to every process instead.
            state.fsdp_plugin = FullyShardedDataParallelPlugin()
            if state.mixed_precision != "no":
                state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
            state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.is_fsdp_enabled = True
        policy = state.fsdp_plugin.mixed_precision_policy if self.is_fsdp_enabled else None
        if policy is not None:
            # Otherwise every output is rounded to half precision, including sums over an answer's tokens.
            policy = replace(policy, reduce_dtype=torch.float32, output_dtype=None)
            state.fsdp_plugin.mixed_precision_policy = policy


logger = logging.getLogger(__name__)


class RowTrainer(AtomicCheckpoints, ShardedTrainer):
    """A `Trainer` whose step is a weighted mean over rows, however they are spread over batches and processes.

    A subclass defines `compute_loss`, which divides by `num_items_in_batch`, the weight of all rows of the step, and
    multiplies by the number of processes.

    Args:
        model: the model to train.
        args: as for `transformers.Trainer`, with `remove_unused_columns=False`.
        rows: the rows.
        padding: a row of weight 0, which fills the last batches of several processes.
        collator: makes a batch of rows, with their weights as `weight`, shape [B].
    """

    def __init__(
        self, model: nn.Module, args: TrainingArguments, rows: Sequence[Any], padding: Any, collator: Any
    ) -> None:
        data: Any = [*rows, padding]
        super().__init__(model=model, args=args, train_dataset=data, data_collator=collator)
        # Makes `Trainer` call `_get_num_items_in_batch`.
        self.model_accepts_loss_kwargs = True
        replace_progress_callbacks(self)

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int]:
        processes = self.accelerator.num_processes
        multiple = 1 if processes == 1 else processes * self.args.per_device_train_batch_size
        return EpochSampler(len(self.train_dataset) - 1, multiple, self.args.seed)  # type: ignore[arg-type]

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor:
        """The weight of all rows of a step, over its batches and all processes."""
        total = torch.stack([batch["weight"].sum() for batch in batch_samples]).sum().to(device)
        gathered: Tensor = self.accelerator.reduce(total, reduction="sum")
        return gathered


def replace_progress_callbacks(trainer: Trainer) -> None:
    """Replace the output that `Trainer` prints to stdout by a progress bar on a terminal, or by log lines."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    if trainer.is_world_process_zero():
        trainer.add_callback(_ProgressBar() if sys.stderr.isatty() else _ProgressLog())


class _ProgressBar(ProgressCallback):
    """A progress bar with the latest loss beside it."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if self.training_bar is not None and logs is not None and "loss" in logs:
            self.training_bar.set_postfix_str(_format_metrics(logs))


class _ProgressLog(TrainerCallback):
    """A log line for each log entry, without a terminal."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs is not None and "loss" in logs:
            logger.info("step %d/%d: %s", state.global_step, state.max_steps, _format_metrics(logs))


_SHOWN_METRICS = (
    "loss",
    "loss/supervised",
    "loss/preference",
    "loss/cost",
    "margin",
    "accuracy",
    "logp_gain/edit",
    "cost/fit",
    "cost/pessimistic",
)


def _format_metrics(logs: dict[str, float]) -> str:
    # The surrogate loss of policy optimisation is 0 up to rounding, so it is not shown.
    shown = [name for name in _SHOWN_METRICS if name in logs and not (name == "loss" and "cost/fit" in logs)]
    return ", ".join(f"{name} {logs[name]:.4g}" for name in shown)
