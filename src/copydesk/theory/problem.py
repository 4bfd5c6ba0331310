"""The setting in closed form: contexts, a reference policy, costs, and what the best policy is."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from copydesk.theory.space import Array


@dataclass(frozen=True)
class Problem:
    """Protocol 1 with finite contexts and responses.

    Args:
        contexts: ρ, (X,), sums to 1.
        reference: π_ref(y|x), (X, Y), positive; rows sum to 1.
        cost: c(x, y), (X, Y), within [0, 1].
        beta: β > 0, the price of leaving the reference policy, in units of cost.
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
    """KL(π ‖ π') over the last axis, with 0 log 0 = 0. Infinite where π' is 0 and π is not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(policy > 0, policy * (np.log(policy) - np.log(other)), 0.0)
    return np.asarray(terms.sum(axis=-1))


def compute_objective_values(policy: Array, reference: Array, cost: Array, beta: float) -> Array:
    """E_{y~π} [cost(x, y) + β log π(y|x)/π_ref(y|x)] of every context: policy (..., X, Y) gives (..., X)."""
    return np.asarray((policy * cost).sum(axis=-1) + beta * kl(policy, reference))
