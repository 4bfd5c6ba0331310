"""Who is met in a column of a table."""

from collections.abc import Callable

from copydesk.errors import InputError
from copydesk.report.columns import Scenario, parse_scenario
from copydesk.simulate.users import ChangingUser, User


def parse_scenario_arg(words: str) -> Scenario:
    """Read a column that was asked for.

    Raises:
        InputError: it is not TASK/USER.
    """
    task, _, user = words.partition("/")
    if not task or not user or "/" in user:
        raise InputError(f"--columns {words}: write TASK/USER, such as email/strong or email/strong-to-weak")
    return parse_scenario(words)


def make_online_user(scenario: Scenario, user: Callable[[str], User], rounds: int) -> User:
    """Who is met online, under the name the column has behind its task.

    Args:
        scenario: where.
        user: opens a user by name.
        rounds: T, after half of which a user changes who does.
    """
    name = scenario.name.partition("/")[2]
    met = user(scenario.online_user)
    if scenario.changes_midway:
        return ChangingUser(name, user(scenario.log_user), met, rounds // 2)
    return met if met.name == name else ChangingUser(name, met, met, 0)


def shift_scenarios(tasks: list[str]) -> list[str]:
    """The columns in which somebody else is met online than the one whose log was learnt from."""
    meetings = ("strong-to-weak", "weak-to-strong", "strong-to-other", "strong-then-other")
    return [f"{task}/{meeting}" for task in tasks for meeting in meetings]
