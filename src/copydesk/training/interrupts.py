"""Signals that end a training run after the step at hand instead of in its midst."""

import logging
import signal
import threading
from types import FrameType
from typing import Any, Self

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)


class StopOnSignal(TrainerCallback):
    """On SIGINT or SIGTERM, let the trainer finish its step, save a checkpoint and stop.

    A callback that is also a context manager: it takes over the signals while it is entered, and gives them back. A
    second signal gives them back at once and is then raised again, so it does what it did before. Outside the main
    thread, where Python allows no handlers, entering does nothing. A signal that is ignored stays ignored.

    A signal that comes during the last step lets training end as it would; `stop_signal` tells of it all the same.

    With several processes, all stop after the same step when any of them was told to.

    Attributes:
        stop_signal: once training has ended, the signal that came; `None` if none did.
    """

    def __init__(self) -> None:
        self.stop_signal: int | None = None
        self._received_signal = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # `None` is a handler that was not set from Python and cannot be given back.
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
        """Stop here when any process was asked to; saved and logged at the same step, so that no loss goes missing."""
        if self._reduce_signal(args) and state.global_step < state.max_steps:
            control.should_save = control.should_log = control.should_training_stop = True
        return control

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Remember a signal that ended training, or came when it was ending anyway."""
        self.stop_signal = self._reduce_signal(args) or None
        return control

    def _reduce_signal(self, args: TrainingArguments) -> int:
        """The signal that any process has had, agreed upon by all; 0 if none."""
        if not (dist.is_available() and dist.is_initialized()):
            return self._received_signal
        asked = torch.tensor(self._received_signal, device=args.device)
        dist.all_reduce(asked, op=dist.ReduceOp.MAX)
        return int(asked)
