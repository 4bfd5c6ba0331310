"""Processes of a training run, as started by `accelerate launch` or `torchrun`; usually there is one."""

import os
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def init_processes() -> None:
    """Initialise the process group, if there are several processes, before a model is loaded to this one's device."""
    if get_world_size() > 1:
        PartialState(cpu=not torch.cuda.is_available())


def get_world_size() -> int:
    """Number of processes that the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def get_rank() -> int:
    """Rank of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Whether this is the one that writes files and speaks to people."""
    return get_rank() == 0


def broadcast_from_main(value: T) -> T:
    """What the main process passes as `value`, in every process."""
    if get_world_size() == 1:
        return value
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


def decide_on_main(decide: Callable[[Callable[[], T]], T], work: Callable[[], T]) -> T:
    """Let the main process decide whether all do a piece of work together; what it decides on is everyone's result.

    Args:
        decide: called in the main process with the work to call, or not to call, in it.
        work: what every process has to do together.
    """
    if get_world_size() == 1:
        return decide(work)
    if not is_main_process():
        if broadcast_from_main(False):
            work()
        return broadcast_from_main(cast(T, None))
    worked = False

    def together() -> T:
        nonlocal worked
        worked = broadcast_from_main(True)
        return work()

    result = decide(together)
    if not worked:
        broadcast_from_main(False)
    return broadcast_from_main(result)


def wait_for_everyone() -> None:
    """Wait until every process is here."""
    if get_world_size() > 1:
        PartialState().wait_for_everyone()
