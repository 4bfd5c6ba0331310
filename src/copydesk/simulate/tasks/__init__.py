"""The tasks; each is one file and one entry here."""

from copydesk.errors import InputError
from copydesk.simulate.tasks import prelude
from copydesk.simulate.tasks.base import Task
from copydesk.simulate.tasks.email import EMAIL
from copydesk.simulate.tasks.summarization import SUMMARIZATION

SCRIPTED_TASKS = {task.name: task for task in (EMAIL, SUMMARIZATION)}
"""Those with synthetic documents."""

TASKS: dict[str, Task] = {
    **SCRIPTED_TASKS,
    **{task.name: task for task in (prelude.PRELUDE_SUMMARIZATION, prelude.PRELUDE_EMAIL)},
}
"""All tasks by name."""


def get_task(name: str) -> Task:
    """The task of that name; raises `InputError` for any other word."""
    if name not in TASKS:
        raise InputError(f"--task: there is no task {name!r}; choose one of {', '.join(TASKS)}")
    return TASKS[name]


__all__ = ["EMAIL", "SCRIPTED_TASKS", "SUMMARIZATION", "TASKS", "get_task"]
