"""The lab's users: they attend to some of the preferences in each edit and leave the others exactly as they are.

Attended preferences are redrawn from π*_β, so the edits are in detailed balance with it. Costs and edits have to agree:
c(x, y) = E_{y' ~ q(·|x,y)} Δ_edit(y, y') and π*_β ∝ π_ref exp(−c/β). Such a world is found from π_ref by iteration, or
from π*_β in closed form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from copydesk.theory.problem import Array, PreferenceSpace, Problem, gibbs

Editor = Callable[[Array], Array]
"""A user: maps π*, (X, Y), to the edits q(y'|x, y) with which they move towards it, (X, Y, Y')."""


def attend_independently(space: PreferenceSpace, probability: float) -> Array:
    """The probability of each subset of preferences if each is attended to with this probability: (2^K,)."""
    sizes = space.subset_sizes
    return np.asarray(probability**sizes * (1 - probability) ** (space.count - sizes))


def attend_to_exactly(space: PreferenceSpace, count: int) -> Array:
    """The probability of each subset of preferences if `count` of them are drawn uniformly: (2^K,).

    Raises:
        ValueError: `count` is not between 0 and K.
    """
    if not 0 <= count <= space.count:
        raise ValueError(f"cannot attend to {count} of {space.count} preferences")
    return np.asarray((space.subset_sizes == count) / comb(space.count, count))


def attention_kernel(target: Array, agreement: NDArray[np.bool_], weights: Array) -> Array:
    """The edits of a user who attends to a random subset of the preferences, in detailed balance with `target`.

    The response is redrawn from the target given that it stays the same outside the subset (a block Gibbs update, and
    a mixture of such updates is reversible too). With every preference attended to it is a draw from the target, with
    none it is no change.

    Args:
        target: π*, (..., Y), positive.
        agreement: whether two responses agree outside each subset, (S, Y, Y) (`PreferenceSpace.agreement`).
        weights: probability of each subset, (S,).

    Returns:
        q(y'|x, y), (..., Y, Y'); rows sum to 1.

    Source: Geman and Geman, IEEE Trans. PAMI 6, 1984.
    """
    kernel = np.zeros((*target.shape, target.shape[-1]))
    for together, weight in zip(agreement, weights, strict=True):
        if weight > 0:
            reached = target[..., None, :] * together
            kernel += weight * reached / reached.sum(axis=-1, keepdims=True)
    return kernel


@dataclass(frozen=True)
class UserQuality:
    """How far one edit brings a response towards π*_β; the worst context counts.

    Attributes:
        gamma_min: γ_min, the smallest q(y*|x, y) over contexts and responses, where y* is the likeliest response under
            π*_β (Assumption 1 of the paper). At most π*_β(y*|x).
        eigenvalue: λ, the largest modulus of an eigenvalue other than 1: at most this share of the χ-distance to π*_β
            remains. 1 − λ is the absolute spectral gap.
        contraction: Dobrushin's coefficient: at most this share of the total variation between any two distributions
            remains. λ ≤ contraction ≤ 1 − γ_min.
        worsening: largest probability over responses that an edit makes the response less likely under π*_β. Detailed
            balance does not allow 0 where edits improve anything.
    """

    gamma_min: float
    eigenvalue: float
    contraction: float
    worsening: float


def measure_user_quality(target: Array, edits: Array) -> UserQuality:
    """Compute γ_min, λ and the contraction from the kernel; target (X, Y), edits (X, Y, Y') in balance with it."""
    root = np.sqrt(target)
    symmetric = edits * (root[..., :, None] / root[..., None, :])  # similar to the kernel: the same eigenvalues
    eigenvalues = np.linalg.eigvalsh((symmetric + np.swapaxes(symmetric, -1, -2)) / 2)
    moduli = np.sort(np.abs(eigenvalues), axis=-1)
    distances = np.abs(edits[..., :, None, :] - edits[..., None, :, :]).sum(axis=-1) / 2
    less_likely = target[..., None, :] < target[..., :, None] * (1 - 1e-9)
    return UserQuality(
        gamma_min=float(compute_gamma_min(target, edits).min()),
        eigenvalue=float(moduli[..., -2].max()),
        contraction=float(distances.max()),
        worsening=float((edits * less_likely).sum(axis=-1).max()),
    )


def compute_gamma_min(target: Array, edits: Array) -> Array:
    """γ_min(x) = min_y q(y*|x, y), y* the likeliest response under `target`: (..., Y) and (..., Y, Y') to (...)."""
    likeliest = target.argmax(axis=-1)[..., None, None]
    return np.asarray(np.take_along_axis(edits, likeliest, axis=-1).min(axis=(-2, -1)))


@dataclass(frozen=True)
class World:
    """A problem and the user who causes its costs.

    Attributes:
        problem: with c(x, y) = E_q Δ_edit(y, y').
        edits: q(y'|x, y), (X, Y, Y'), in detailed balance with the problem's optimum.
        distance: Δ_edit, (Y, Y).
        residual: the largest |E_q Δ_edit − c| over contexts and responses, where q belongs to the optimum of c.
        iterations: number of iterations; 0 in closed form.
    """

    problem: Problem
    edits: Array
    distance: Array
    residual: float
    iterations: int = 0

    @property
    def edited_distribution(self) -> Array:
        """μ(y'|x) = Σ_y π_ref(y|x) q(y'|x, y), the distribution of edits that SFT learns from: (X, Y)."""
        return apply_edits(self.problem.reference, self.edits)


def apply_edits(policy: Array, edits: Array) -> Array:
    """q∘π, the distribution of the edit of a response of `policy`: (..., Y) and (..., Y, Y') to (..., Y')."""
    return np.asarray(np.einsum("...y,...yz->...z", policy, edits))


def compute_expected_edit_cost(edits: Array, distance: Array) -> Array:
    """c(x, y) = Σ_y' q(y'|x, y) Δ_edit(y, y'): edits (X, Y, Y'), distance (Y, Y'), to (X, Y)."""
    return np.asarray((edits * distance).sum(axis=-1))


def solve_fixed_point(
    contexts: Array,
    reference: Array,
    beta: float,
    distance: Array,
    user: Editor,
    *,
    start: Array,
    tolerance: float = 1e-12,
    most: int = 20_000,
) -> World:
    """Iterate c ← (c + E_q Δ_edit)/2 from the costs `start`, (X, Y), until the residual is at most `tolerance`.

    A fixed point exists, since the map is continuous and maps costs in [0, 1] to costs in [0, 1] (Brouwer). It need not
    be unique, so the result can depend on `start`. Where the iteration does not converge, `residual` shows it.
    """
    cost = start
    for iteration in range(most + 1):
        edits = user(gibbs(reference, cost, beta))
        edit_cost = compute_expected_edit_cost(edits, distance)
        residual = float(np.abs(edit_cost - cost).max())
        if residual <= tolerance or iteration == most:
            break
        cost = (cost + edit_cost) / 2
    return World(Problem(contexts, reference, cost, beta), edits, distance, residual, iteration)


def make_world(contexts: Array, optimum: Array, beta: float, distance: Array, user: Editor) -> World:
    """The world in which this user edits towards `optimum`, (X, Y), positive.

    The edits, and so the costs, follow from the optimum alone, and π_ref ∝ π* exp(c/β) is the reference policy for
    which it is optimal: a fixed point by construction. The smaller β, the further π_ref is from π*.
    """
    edits = user(optimum)
    cost = compute_expected_edit_cost(edits, distance)
    problem = Problem(contexts, gibbs(optimum, -cost, beta), cost, beta)
    recomputed = compute_expected_edit_cost(user(problem.optimum), distance)
    return World(problem, edits, distance, float(np.abs(recomputed - cost).max()))
