"""Attention of a simulated user: which of the preferences it edits towards in one interaction.

The paper's strong user edits towards every preference. Its weak user samples a subset of them in each interaction, two
say, and leaves the others alone (section 5 of arXiv 2601.19055).
"""

import re
from dataclasses import dataclass

import numpy as np

from copydesk.errors import InputError

_WEAK_PATTERN = re.compile(r"weak-(?:(?P<count>[1-9]\d?)|(?P<probability>0\.\d*[1-9]\d*|1\.0+))")


@dataclass(frozen=True)
class Attention:
    """The preferences attended to in an interaction: all, exactly `count` of them, or each with `probability`.

    Attributes:
        count: the size of the subset, drawn uniformly; where there are fewer preferences, all of them.
        probability: the chance of each preference, independently of the others. Then any subset can occur, so that
            the best text is reached from any text with a positive probability (γ_min > 0 in the paper's
            Assumption 1), which is not so for an exact count.

    Raises:
        InputError: both are given, or one is out of range.
    """

    count: int | None = None
    probability: float | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.probability is not None:
            raise InputError("attention: give a number of preferences or a probability, not both")
        if self.count is not None and self.count < 1:
            raise InputError(f"attention: {self.count} must be at least 1")
        if self.probability is not None and not 0 < self.probability <= 1:
            raise InputError(f"attention: {self.probability:g} is no probability above 0")

    @property
    def is_complete(self) -> bool:
        """Whether every preference is attended to in every interaction."""
        return self.count is None and self.probability is None

    def sample(self, rng: np.random.Generator, total: int) -> frozenset[int]:
        """The indices of the preferences attended to in one interaction, out of `total`."""
        if self.probability is not None:
            return frozenset(np.flatnonzero(rng.random(total) < self.probability).tolist())
        if self.count is not None:
            return frozenset(rng.permutation(total)[: self.count].tolist())
        return frozenset(range(total))


WEAK_COUNT = 2
"""The number of preferences that the weak user attends to in an interaction, as in the paper."""


def get_attention(name: str) -> Attention:
    """The attention of the user of that name.

    `weak` attends to two preferences, `weak-3` to three, `weak-0.35` to each with that probability, and every other
    user to all.
    """
    if name == "weak":
        return Attention(count=WEAK_COUNT)
    found = _WEAK_PATTERN.fullmatch(name)
    if found is None:
        return Attention()
    if found["count"] is not None:
        return Attention(count=int(found["count"]))
    return Attention(probability=float(found["probability"]))
