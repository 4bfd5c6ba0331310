import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from transformers import TrainerControl, TrainerState

from copydesk.errors import Interrupted
from copydesk.training.checkpoints import StopOnSignal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interrupt(number: int, frame: Any) -> None:
    raise Interrupted(number)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The command line's handlers, as they are when training begins."""
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


ARGS: Any = SimpleNamespace(device=torch.device("cpu"))


def end_of_step(stop: StopOnSignal, step: int = 3) -> TrainerControl:
    return stop.on_step_end(ARGS, TrainerState(global_step=step, max_steps=10), TrainerControl())


def end_of_training(stop: StopOnSignal) -> int:
    stop.on_train_end(ARGS, TrainerState(), TrainerControl())
    return stop.stop_signal or 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_training_with_a_checkpoint_after_the_step(number: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), StopOnSignal() as stop:
        assert end_of_step(stop) == TrainerControl()
        signal.raise_signal(number)
        control = end_of_step(stop)
        assert end_of_training(stop) == number
    assert control == TrainerControl(should_training_stop=True, should_save=True, should_log=True)
    assert caplog.messages == ["finishing this step and saving; interrupt again to stop at once"]


def test_a_second_signal_does_what_it_did_before() -> None:
    with pytest.raises(Interrupted) as raised, StopOnSignal():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the second signal must not be swallowed")
    assert raised.value.number == signal.SIGTERM


def test_signals_are_given_back() -> None:
    with StopOnSignal():
        assert signal.getsignal(signal.SIGINT) is not interrupt
    assert [signal.getsignal(number) for number in SIGNALS] == [interrupt, interrupt]
    with pytest.raises(ValueError, match="an error"), StopOnSignal():
        raise ValueError("an error")
    assert [signal.getsignal(number) for number in SIGNALS] == [interrupt, interrupt]


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopOnSignal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert not end_of_step(stop).should_training_stop


def test_a_signal_during_the_last_step_lets_training_end_but_is_not_lost() -> None:
    with StopOnSignal() as stop:
        assert end_of_training(stop) == 0
        signal.raise_signal(signal.SIGTERM)
        assert end_of_step(stop, step=10) == TrainerControl()
        assert end_of_training(stop) == signal.SIGTERM


def test_outside_the_main_thread_nothing_is_taken_over() -> None:
    seen = []

    def work() -> None:
        with StopOnSignal():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [interrupt]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_agree_to_stop_after_the_same_step(tmp_path: Path) -> None:
    """Two processes, one of which was told to stop; each exits with the signal it says ended its training."""

    def work(rank: int) -> int:
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=rank, world_size=2)
        with StopOnSignal() as stop:
            assert not end_of_step(stop).should_training_stop
            if rank == 1:
                signal.raise_signal(signal.SIGTERM)
            assert end_of_step(stop).should_training_stop
            return end_of_training(stop)

    children = []
    for rank in range(2):
        children.append(os.fork())
        if children[-1] == 0:
            code = 1
            try:
                code = work(rank)
            finally:
                os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [signal.SIGTERM, signal.SIGTERM]
