"""The finite policy class that the learners choose from, and coverage coefficients of the bounds by exact sums.

Each member is a cost function together with its optimal policy.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from copydesk.theory.problem import Array, Problem, gibbs
from copydesk.theory.users import World


@dataclass(frozen=True)
class PolicyClass:
    """F and Π = {π_f ∝ π_ref exp(−f/β) : f ∈ F}. The first member is the truth: c, and so π*_β.

    Attributes:
        costs: F, (K, X, Y), within [0, 1].
        reference: π_ref, (X, Y).
        beta: β.
        scale: s, the β of DPO's loss. Edits in detailed balance with π*_β correspond to s = 1 for any β of J_β
            (`docs/theory.md`, lemma 3).
    """

    costs: Array
    reference: Array
    beta: float
    scale: float = 1.0

    @property
    def size(self) -> int:
        """|Π|."""
        return len(self.costs)

    @cached_property
    def policies(self) -> Array:
        """Π, (K, X, Y)."""
        return gibbs(self.reference, self.costs, self.beta)

    @cached_property
    def log_policies(self) -> Array:
        """log π(y|x) of every member, (K, X, Y)."""
        return np.asarray(np.log(self.policies))

    @cached_property
    def margins(self) -> Array:
        """s log π/π_ref (y') − s log π/π_ref (y) of every member, (K, X, Y, Y')."""
        ratios = self.scale * (self.log_policies - np.log(self.reference))
        return np.asarray(ratios[..., None, :] - ratios[..., :, None])

    @cached_property
    def log_preferences(self) -> Array:
        """log σ of the margins, (K, X, Y, Y')."""
        return np.asarray(-np.logaddexp(0.0, -self.margins))


def build_policy_class(world: World, others: Array, largest: float = 1.0) -> PolicyClass:
    """Build a class of 11 + 3 J members: the true costs, scaled copies, the edits' own, and mixtures with `others`.

    `others` are other costs, (J, X, Y). The scaled copies give policies between π_ref and π*. The edits' own member is
    the policy q∘π_ref, where SFT ends (the paper's Assumption 2 has it in Π). The mixtures give policies near π* that
    take many edits to distinguish from it. All costs are within [0, `largest`].
    """
    cost, reference, beta = world.problem.cost, world.problem.reference, world.problem.beta
    scaled = np.array([0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.125])[:, None, None] * cost
    edited = beta * np.log(reference / world.edited_distribution)
    edited -= edited.min(axis=-1, keepdims=True)
    mixed = [(1 - share) * cost + share * others for share in (0.25, 0.5, 1.0)]
    costs = np.concatenate([cost[None], np.minimum(scaled, largest), edited[None], *mixed])
    return PolicyClass(costs, reference, beta)


def chi_distance(contexts: Array, policy: Array, optimum: Array) -> float:
    """χ(π, π*): the square root of E_x Σ_y (π(y|x) − π*(y|x))² / π*(y|x)."""
    return float(np.sqrt(contexts @ ((policy - optimum) ** 2 / optimum).sum(axis=-1)))


def single_policy_coverage(problem: Problem) -> float:
    """C₂ = E_{x, y ~ π_ref} [(π*(y|x)/π_ref(y|x))²]: 1 where π_ref = π*, and larger with the distance between them."""
    return float(problem.contexts @ (problem.optimum**2 / problem.reference).sum(axis=-1))


def preference_coverage(world: World, members: PolicyClass) -> float:
    """C_PREF: the largest squared regret of a member for each unit of its squared error on the log's pairs.

    max over π ∈ Π of (β E_x [E_π u − E_π* u])² / E_{x, y, y'} [(u(x, y') − u(x, y))²], with u = log π/π*, y ~ π_ref and
    y' ~ q(·|x, y). Infinite where a member other than π* equals it on every pair.
    """
    problem = world.problem
    errors = members.log_policies - np.log(problem.optimum)
    pairs = problem.contexts[:, None, None] * problem.reference[:, :, None] * world.edits
    squared = np.einsum("kxyz,xyz->k", (errors[..., None, :] - errors[..., :, None]) ** 2, pairs)
    regret = problem.beta * (((members.policies - problem.optimum) * errors).sum(axis=-1) @ problem.contexts)
    other = regret > 1e-14  # leaves out π* itself and members equal to it
    with np.errstate(divide="ignore"):
        return float((regret[other] ** 2 / squared[other]).max(initial=0.0))


def largest_margin(world: World, members: PolicyClass) -> float:
    """V_max: the largest |s log π/π_ref (y') − s log π/π_ref (y)| of any member on a pair that can be in the log."""
    possible = world.problem.reference[:, :, None] * world.edits > 0
    return float(np.abs(members.margins)[:, possible].max())


def largest_cost(world: World) -> float:
    """c_max: the largest Δ_edit of an edit that this user makes."""
    return float((world.distance * (world.edits > 0)).max())
