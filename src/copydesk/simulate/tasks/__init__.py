"""The tasks, one a file."""

from copydesk.errors import InputError
from copydesk.simulate.task import Task
from copydesk.simulate.tasks.email import EMAIL
from copydesk.simulate.tasks.summarization import SUMMARIZATION

TASKS = {task.name: task for task in (EMAIL, SUMMARIZATION)}


def get_task(name: str) -> Task:
    """The task of that name; raises `InputError` for any other word."""
    if name not in TASKS:
        raise InputError(f"--task: there is no task {name!r}; choose one of {', '.join(TASKS)}")
    return TASKS[name]


__all__ = ["EMAIL", "SUMMARIZATION", "TASKS", "get_task"]
