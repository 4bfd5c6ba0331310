"""The rows of a table, by name."""

import re
from collections.abc import Sequence
from typing import cast, get_args

from copydesk.errors import InputError
from copydesk.training.config import METHODS, Method

BASE_METHOD = "base"
ORACLE_METHOD = "oracle"
LATE_METHODS = ("late", "late-discounted-ucb", "late-thompson")
"""The late ensemble by each rule; `late` is Algorithm 1."""

_PROMPTED_PATTERN = re.compile(r"(?P<learner>icl|cipher)-(?P<k>[1-9]\d*)")


def parse_training_method(name: str) -> Method | None:
    """The training method of that name, if it is one."""
    return cast(Method, name) if name in get_args(Method) else None


def parse_prompted_method(name: str) -> tuple[str, int] | None:
    """What kind of prompt learner that is (`icl` or `cipher`) and how many past edits it retrieves, if it is one."""
    found = _PROMPTED_PATTERN.fullmatch(name)
    return None if found is None else (found["learner"], int(found["k"]))


def check_methods(names: Sequence[str], option: str = "--methods") -> None:
    """Refuse names that are no rows.

    Raises:
        InputError: one is unknown, or stands there twice.
    """
    for name in names:
        if (
            name not in (BASE_METHOD, ORACLE_METHOD, *LATE_METHODS)
            and parse_training_method(name) is None
            and parse_prompted_method(name) is None
        ):
            known = ", ".join((BASE_METHOD, ORACLE_METHOD, "icl-K", "cipher-K", *METHODS, *LATE_METHODS))
            raise InputError(f"{option}: there is no method {name!r}; choose from {known} (K: past edits, such as 5)")
        if list(names).count(name) > 1:
            raise InputError(f"{option}: {name} stands there twice; name it once")
