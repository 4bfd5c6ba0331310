"""Whom a policy learned from, kept so that one can ask about a person but cannot read who they were."""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel, ConfigDict


class HashedUsers(BaseModel):
    """The users whose rows a policy was made from, held-out ones included.

    Attributes:
        salt: the key of the hashes.
        users: of each user, the first 16 hex digits of the HMAC-SHA256 of their name, sorted.
        unnamed: how many rows did not say whose they were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    salt: str
    users: tuple[str, ...]
    unnamed: int

    @classmethod
    def from_names(cls, names: Iterable[str | None], salt: str) -> Self:
        """The users of a log, one name for each row."""
        named: set[str] = set()
        unnamed = 0
        for name in names:
            if name is None:
                unnamed += 1
            else:
                named.add(name)
        return cls(salt=salt, users=tuple(sorted(_hash_user(name, salt) for name in named)), unnamed=unnamed)

    def contains(self, user: str) -> bool:
        """Whether this user is one of them."""
        return _hash_user(user, self.salt) in self.users


def _hash_user(name: str, salt: str) -> str:
    return hmac.new(salt.encode(), name.encode(), hashlib.sha256).hexdigest()[:16]
