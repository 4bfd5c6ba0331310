"""Responses small enough to list: every string over a few letters, and the edits that lead from one to the next."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

Array = NDArray[np.float64]
"""What the lab computes with: float64, axes named in the docstrings (X contexts, Y responses)."""


@dataclass(frozen=True)
class StringSpace:
    """All non-empty strings of at most `longest` letters of `alphabet`, e.g. 30 of them over "ab" up to length 4."""

    alphabet: str = "ab"
    longest: int = 4

    @cached_property
    def responses(self) -> tuple[str, ...]:
        """The Y strings, shorter ones first."""
        lengths = range(1, self.longest + 1)
        return tuple("".join(letters) for length in lengths for letters in product(self.alphabet, repeat=length))

    @cached_property
    def distance(self) -> Array:
        """Δ_edit, (Y, Y): Levenshtein distance over letters, divided by the longest length, so within [0, 1]."""
        steps = cdist(self.responses, self.responses, scorer=Levenshtein.distance, dtype=np.int32)
        return steps.astype(np.float64) / self.longest

    @cached_property
    def local_edits(self) -> Array:
        """Which strings are one local edit apart (a letter put in, taken out or replaced), (Y, Y) of 0 and 1."""
        return (np.abs(self.distance * self.longest - 1) < 1e-9).astype(np.float64)

    @cached_property
    def proposal(self) -> Array:
        """A symmetric kernel (Y, Y) that tries local edits: each with the same probability, else it stays."""
        moves = self.local_edits / self.local_edits.sum(axis=1).max()
        return np.asarray(moves + np.diag(1 - moves.sum(axis=1)))
