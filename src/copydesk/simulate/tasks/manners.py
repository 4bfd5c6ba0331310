"""Manners: the ways in which two texts with the same facts can differ."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Style = Mapping[str, str]
"""One value for each manner, such as {"greeting": "hi", "layout": "bullets"}. A taste is the manners a user wants."""


@dataclass(frozen=True)
class StyleAttribute:
    """One way in which responses vary, and how often the reference policy was shown each value.

    The frequencies are the *coverage* of the reference policy: a value with a large share is near (it writes so by
    itself), one with a share of a few percent is far, and a conjunction of several far values is almost never written.
    """

    name: str
    shares: Mapping[str, float]

    @property
    def values(self) -> tuple[str, ...]:
        """Every value, the default one first."""
        return tuple(self.shares)

    def sample(self, rng: np.random.Generator) -> str:
        """A value drawn with the reference policy's shares."""
        return self.values[int(rng.choice(len(self.shares), p=np.array(list(self.shares.values()))))]
