"""The processes that share one training run, started by `accelerate launch` or `torchrun`; usually there is one."""

import os
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def join() -> None:
    """Meet the other processes, if there are any, before a model is loaded: it is then loaded to one's own device."""
    if count() > 1:
        PartialState(cpu=not torch.cuda.is_available())


def count() -> int:
    """How many processes the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this is the one that writes files and speaks to people."""
    return rank() == 0


def from_main(value: T) -> T:
    """What the main process passes as `value`, in every process."""
    if count() == 1:
        return value
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


def once(decide: Callable[[Callable[[], T]], T], work: Callable[[], T]) -> T:
    """Let the main process decide whether all do a piece of work together; what it decides on is everyone's result.

    Args:
        decide: called in the main process with the work to call, or not to call, in it.
        work: what every process has to do together.
    """
    if count() == 1:
        return decide(work)
    if not is_main():
        if from_main(False):
            work()
        return from_main(cast(T, None))
    worked = False

    def together() -> T:
        nonlocal worked
        worked = from_main(True)
        return work()

    result = decide(together)
    if not worked:
        from_main(False)
    return from_main(result)


def wait() -> None:
    """Wait until every process is here."""
    if count() > 1:
        PartialState().wait_for_everyone()
