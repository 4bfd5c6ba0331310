"""Simulated users: scripts, seeded and offline, or an LLM that reads the preferences in words."""

import re

from copydesk.errors import InputError
from copydesk.simulate.users.attention import Attention, get_attention
from copydesk.simulate.users.scripted import ChangingUser, ScriptedUser, User

STRONG = ScriptedUser("strong")
"""Edits towards every preference."""
WEAK = ScriptedUser("weak", attention=get_attention("weak"))
"""Edits towards two preferences, sampled in each interaction, and leaves the others alone."""
TRANSFER = ScriptedUser("transfer", tolerance=1, own_words=True)
"""The strong user's preferences in another hand: own wording, and a text that misses only one preference will do."""
OTHER = ScriptedUser("other", taste_offset=1)
"""As strong, with another taste than the one policies are trained for."""
USERS = {user.name: user for user in (STRONG, WEAK, TRANSFER, OTHER)}
"""The users who have a name of their own."""

ONLINE_ONLY = (TRANSFER.name,)
"""Users who are met online and make no log, because nothing reads the words they use."""

_ERRING_PATTERN = re.compile(r"erring-(0?\.\d+|1|1\.0)")
_KNOWN = f"{', '.join(USERS)}, weak-3, weak-0.35 or erring-0.30"


def get_user(name: str) -> ScriptedUser:
    """The scripted user of that name.

    That is `strong`, `weak`, `transfer` or `other`; `weak-3` or `weak-0.35`, a weak user who attends to three
    preferences or to each with that probability; or `erring-0.30`, who fixes what is not to taste with that
    probability, errs otherwise, and whose taste depends on the kind of document alone.

    Raises:
        InputError: there is none of that name.
    """
    if name in USERS:
        return USERS[name]
    erring = _ERRING_PATTERN.fullmatch(name)
    if erring is not None and float(erring[1]) > 0:
        return ScriptedUser(name, float(erring[1]), facets=False)
    attention = get_attention(name)
    if attention.is_complete:
        raise InputError(f"--user: there is no user {name!r}; choose one of {_KNOWN}")
    return ScriptedUser(name, attention=attention)


__all__ = [
    "ONLINE_ONLY",
    "OTHER",
    "STRONG",
    "TRANSFER",
    "USERS",
    "WEAK",
    "Attention",
    "ChangingUser",
    "ScriptedUser",
    "User",
    "get_attention",
    "get_user",
]
