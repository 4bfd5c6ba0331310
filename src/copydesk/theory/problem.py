"""The lab's problem in closed form: contexts, responses, a reference policy, costs, and the optimal policy.

A response meets or misses each of a few preferences.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""Arrays of float64; docstrings give the shape (X contexts, Y responses)."""


@dataclass(frozen=True)
class PreferenceSpace:
    """Every way to meet or miss K preferences: 2^K responses, e.g. "abbab", with one letter for each preference.

    Which letter meets a preference depends on the context.
    """

    count: int = 5

    @cached_property
    def responses(self) -> tuple[str, ...]:
        """The Y = 2^K responses; their order is that of binary numbers, with b as 1."""
        return tuple("".join(letters) for letters in product("ab", repeat=self.count))

    @cached_property
    def distance(self) -> Array:
        """Δ_edit, (Y, Y): the share of the letters that differ, within [0, 1]."""
        return np.asarray(self.subset_sizes[self._differences] / self.count)

    @cached_property
    def agreement(self) -> NDArray[np.bool_]:
        """Whether two responses agree in every preference outside each subset of the preferences: (2^K, Y, Y)."""
        outside = ~np.arange(2**self.count)
        return np.asarray((self._differences & outside[:, None, None]) == 0)

    @cached_property
    def subset_sizes(self) -> NDArray[np.int64]:
        """Number of preferences in each subset, (2^K,), in the order of `agreement`."""
        subsets = np.arange(2**self.count)[:, None]
        return np.asarray((subsets >> np.arange(self.count) & 1).sum(axis=1))

    @cached_property
    def _differences(self) -> NDArray[np.int64]:
        numbers = np.arange(2**self.count)
        return np.asarray(numbers[:, None] ^ numbers)


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
