"""Simulated users: scripts, seeded and offline, or an LLM that reads the taste in words."""

import re

from copydesk.errors import InputError
from copydesk.simulate.users.scripted import ChangingUser, ScriptedUser, User

STRONG = ScriptedUser("strong", 0.95)
"""Fixes each error with probability 0.95."""
WEAK = ScriptedUser("weak", 0.30)
"""Fixes each error with probability 0.30."""
OTHER = ScriptedUser("other", 0.95, taste_offset=1)
"""As strong, with another taste than the one policies are trained for."""
USERS = {user.name: user for user in (STRONG, WEAK)}
"""The users of the poster's table."""

_STRENGTH_PATTERN = re.compile(r"p(0?\.\d+|1|1\.0)")


def get_user(name: str) -> ScriptedUser:
    """The scripted user of that name: strong, weak, other (strong, with another taste) or `p0.35`, of that strength.

    Raises:
        InputError: there is none of that name.
    """
    strength = _STRENGTH_PATTERN.fullmatch(name)
    if strength is not None:
        return ScriptedUser(name, float(strength[1]))
    known = {**USERS, OTHER.name: OTHER}
    if name not in known:
        raise InputError(
            f"--user: there is no user {name!r}; choose one of {', '.join(known)}, or a strength such as p0.35"
        )
    return known[name]


__all__ = ["OTHER", "STRONG", "USERS", "WEAK", "ChangingUser", "ScriptedUser", "User", "get_user"]
