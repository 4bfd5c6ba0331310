"""Who writes a log together: people of different tastes, some of whom edit much and some little."""

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

from copydesk.simulate.users.scripted import ScriptedUser

# Half are of one mind and the others each of their own, so that what all have in common and what one wants for oneself
# are both there; and in either half one gave much, one some and one little, so that the two do not go together. Of 300
# edits they are 100, 38 and 12: on either side of the 50 from which a strong user's edits suffice (docs/results.md).
_USER_SHARES = (("ann", 0, 8), ("ben", 0, 3), ("cleo", 0, 1), ("dan", 1, 8), ("eve", 2, 3), ("finn", 3, 1))
"""Name, turn (see `ScriptedUser`) and share of the edits."""

MIN_PERSONAL_EDITS = sum(share for *_, share in _USER_SHARES)
"""The edits it takes until everybody has given one."""


@dataclass(frozen=True)
class PersonalUser:
    """A user, and how many of the log's edits are theirs."""

    user: ScriptedUser
    edits: int

    @property
    def name(self) -> str:
        """The user's name."""
        return self.user.name

    def to_json(self) -> dict[str, Any]:
        """What results.json keeps of the person, by the name."""
        return {"p": self.user.p, "turn": self.user.taste_offset, "edits": self.edits}


def make_personal_users(like: ScriptedUser, edits: int) -> list[PersonalUser]:
    """Six people as strong as `like`, whose edits, at least `MIN_PERSONAL_EDITS`, are `edits` together.

    Three want what `like` wants, and the others three different things.
    """
    ends = accumulate((share for *_, share in _USER_SHARES), initial=0)
    counts = [
        round(edits * end / MIN_PERSONAL_EDITS) - round(edits * start / MIN_PERSONAL_EDITS)
        for start, end in pairwise(ends)
    ]
    return [
        PersonalUser(replace(like, name=name, taste_offset=like.taste_offset + turn), count)
        for (name, turn, _), count in zip(_USER_SHARES, counts, strict=True)
    ]
