"""How well a log covers what the best policy does: the coefficients of the bounds, by exact sums."""

import numpy as np

from copydesk.theory.fixed_point import World
from copydesk.theory.policy_classes import PolicyClass
from copydesk.theory.problem import Problem
from copydesk.theory.space import Array


def chi_distance(contexts: Array, policy: Array, optimum: Array) -> float:
    """χ(π, π*): the root of E_x Σ_y (π(y|x) − π*(y|x))² / π*(y|x)."""
    return float(np.sqrt(contexts @ ((policy - optimum) ** 2 / optimum).sum(axis=-1)))


def single_policy_coverage(problem: Problem) -> float:
    """C₂ = E_{x, y ~ π_ref} [(π*(y|x)/π_ref(y|x))²]: 1 where π_ref is π*, more the further it is from it."""
    return float(problem.contexts @ (problem.optimum**2 / problem.reference).sum(axis=-1))


def preference_coverage(world: World, members: PolicyClass) -> float:
    """C_PREF: how much regret, squared, one unit of a member's squared error on the log's pairs can hide.

    max over π ∈ Π of (β E_x [E_π u − E_π* u])² / E_{x, y, y'} [(u(x, y') − u(x, y))²], with u = log π/π*, y ~ π_ref and
    y' ~ q(·|x, y). Infinite where a member other than π* looks like it on every pair.
    """
    problem = world.problem
    errors = members.log_policies - np.log(problem.optimum)
    pairs = problem.contexts[:, None, None] * problem.reference[:, :, None] * world.edits
    squared = np.einsum("kxyz,xyz->k", (errors[..., None, :] - errors[..., :, None]) ** 2, pairs)
    regret = problem.beta * (((members.policies - problem.optimum) * errors).sum(axis=-1) @ problem.contexts)
    other = regret > 1e-14  # π* itself, and whatever equals it, has nothing to hide
    with np.errstate(divide="ignore"):
        return float((regret[other] ** 2 / squared[other]).max(initial=0.0))


def largest_margin(world: World, members: PolicyClass) -> float:
    """V_max: the largest |s log π/π_ref (y') − s log π/π_ref (y)| of any member on a pair that can be in the log."""
    possible = world.problem.reference[:, :, None] * world.edits > 0
    return float(np.abs(members.margins)[:, possible].max())


def largest_cost(world: World) -> float:
    """c_max: the largest Δ_edit of an edit that this user makes."""
    return float((world.distance * (world.edits > 0)).max())
