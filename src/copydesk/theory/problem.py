"""The lab's problem in closed form: contexts, responses, a reference policy, costs, and the optimal policy.

Responses are all short strings over a small alphabet; local edits lead from one to the next.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

Array = NDArray[np.float64]
"""Arrays of float64; docstrings give the shape (X contexts, Y responses)."""


@dataclass(frozen=True)
class StringSpace:
    """All non-empty strings of at most `longest` letters of `alphabet`, e.g. 30 of them over "ab" up to length 4."""

    alphabet: str = "ab"
    longest: int = 4

    @cached_property
    def responses(self) -> tuple[str, ...]:
        """The Y strings, by length."""
        lengths = range(1, self.longest + 1)
        return tuple("".join(letters) for length in lengths for letters in product(self.alphabet, repeat=length))

    @cached_property
    def distance(self) -> Array:
        """Δ_edit, (Y, Y): Levenshtein distance over letters, divided by the longest length, so within [0, 1]."""
        steps = cdist(self.responses, self.responses, scorer=Levenshtein.distance, dtype=np.int32)
        return steps.astype(np.float64) / self.longest

    @cached_property
    def local_edits(self) -> Array:
        """1 where two strings are one local edit apart (a letter inserted, deleted or replaced), else 0: (Y, Y)."""
        return (np.abs(self.distance * self.longest - 1) < 1e-9).astype(np.float64)

    @cached_property
    def proposal(self) -> Array:
        """A symmetric kernel (Y, Y) that proposes each local edit with the same probability, else no change."""
        moves = self.local_edits / self.local_edits.sum(axis=1).max()
        return np.asarray(moves + np.diag(1 - moves.sum(axis=1)))


@dataclass(frozen=True)
class Problem:
    """Protocol 1 with finite contexts and responses.

    Args:
        contexts: ρ, (X,), sums to 1.
        reference: π_ref(y|x), (X, Y), positive; rows sum to 1.
        cost: c(x, y), (X, Y), within [0, 1].
        beta: β > 0, the weight of the KL penalty to the reference policy, in units of cost.
    """

    contexts: Array
    reference: Array
    cost: Array
    beta: float

    @cached_property
    def optimum(self) -> Array:
        """π*_β ∝ π_ref exp(−c/β), (X, Y), which minimises J_β."""
        return gibbs(self.reference, self.cost, self.beta)

    def objective(self, policy: Array) -> float:
        """J_β(π) = E_{x~ρ, y~π} [c(x, y) + β log π(y|x)/π_ref(y|x)]; `policy` is (X, Y)."""
        return float(self.contexts @ compute_objective_values(policy, self.reference, self.cost, self.beta))

    def suboptimality(self, policy: Array) -> float:
        """SubOpt(π) = J_β(π) − J_β(π*_β), which equals β E_x KL(π ‖ π*_β) (`docs/theory.md`, lemma 1)."""
        return self.beta * float(self.contexts @ kl(policy, self.optimum))

    def distance(self, policy: Array, other: Array) -> float:
        """D(π, π'), the total variation between two policies, averaged over contexts; within [0, 1]."""
        return float(self.contexts @ (np.abs(policy - other).sum(axis=-1) / 2))

    def expected_cost(self, policy: Array) -> float:
        """E_{x~ρ, y~π} c(x, y)."""
        return float(self.contexts @ (policy * self.cost).sum(axis=-1))


def gibbs(reference: Array, cost: Array, beta: float) -> Array:
    """π_ref exp(−cost/β), normalised over the last axis; cost may have leading axes that the reference lacks."""
    logits = np.log(reference) - cost / beta
    logits -= logits.max(axis=-1, keepdims=True)
    weights = np.exp(logits)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def kl(policy: Array, other: Array) -> Array:
    """KL(π ‖ π') over the last axis, with 0 log 0 = 0; infinite where π' is 0 and π is not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(policy > 0, policy * (np.log(policy) - np.log(other)), 0.0)
    return np.asarray(terms.sum(axis=-1))


def compute_objective_values(policy: Array, reference: Array, cost: Array, beta: float) -> Array:
    """E_{y~π} [cost(x, y) + β log π(y|x)/π_ref(y|x)] of every context: policy (..., X, Y) gives (..., X)."""
    return np.asarray((policy * cost).sum(axis=-1) + beta * kl(policy, reference))
