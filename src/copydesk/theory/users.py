"""The lab's users: Markov kernels that move a response towards π*; a strong user applies more steps.

Costs and edits have to agree: c(x, y) = E_{y' ~ q(·|x,y)} Δ_edit(y, y'), π*_β ∝ π_ref exp(−c/β), and q is in detailed
balance with π*_β. Such a world is found from π_ref by iteration, or from π*_β in closed form.
"""

from dataclasses import dataclass

import numpy as np

from copydesk.theory.problem import Array, Problem, gibbs


@dataclass(frozen=True)
class MixingRate:
    """How fast edits bring a response to π*_β.

    Attributes:
        gap: absolute spectral gap of one step, 1 − λ, the smallest over contexts. λ is the largest modulus of an
            eigenvalue other than 1.
        left: λ^m, an upper bound on the share of the χ-distance to π*_β that remains after m steps.
        contraction: Dobrushin's coefficient of the m steps, an upper bound on the share of the total variation between
            two distributions that remains; the largest over contexts.
    """

    gap: float
    left: float
    contraction: float


def metropolis_kernel(target: Array, proposal: Array) -> Array:
    """The Metropolis-Hastings kernel of a symmetric proposal, in detailed balance with `target`.

    A proposed edit y → y' is made with probability min(1, target(y')/target(y)), else the text does not change.

    Args:
        target: (..., Y), positive.
        proposal: (..., Y, Y), symmetric; where a row sums to less than 1, the rest is no change.

    Source: Metropolis et al., J. Chem. Phys. 21, 1953.
    """
    accepted = np.minimum(1.0, target[..., None, :] / target[..., :, None])
    moves = proposal * accepted
    stay = np.arange(target.shape[-1])
    moves[..., stay, stay] = 0.0
    moves[..., stay, stay] = 1 - moves.sum(axis=-1)
    return moves


def edit_kernel(target: Array, proposal: Array, strength: int) -> Array:
    """q(y'|x, y) of a user who tries `strength` local edits one after the other: (X, Y, Y'), rows sum to 1.

    A power of a kernel in detailed balance with π*_β is itself in detailed balance with it.
    """
    return np.linalg.matrix_power(metropolis_kernel(target, proposal), strength)


def compute_mixing_rate(target: Array, proposal: Array, strength: int) -> MixingRate:
    """The spectral gap of one step and the contraction of `strength` steps; target (X, Y), proposal (X, Y, Y)."""
    step = metropolis_kernel(target, proposal)
    root = np.sqrt(target)
    symmetric = step * (root[..., :, None] / root[..., None, :])  # similar to `step`: the same eigenvalues
    eigenvalues = np.linalg.eigvalsh((symmetric + np.swapaxes(symmetric, -1, -2)) / 2)
    moduli = np.sort(np.abs(eigenvalues), axis=-1)
    second = float(moduli[..., -2].max())
    steps = np.linalg.matrix_power(step, strength)
    distances = np.abs(steps[..., :, None, :] - steps[..., None, :, :]).sum(axis=-1) / 2
    return MixingRate(gap=1 - second, left=second**strength, contraction=float(distances.max()))


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
        return np.asarray(np.einsum("xy,xyz->xz", self.problem.reference, self.edits))


def compute_expected_edit_cost(edits: Array, distance: Array) -> Array:
    """c(x, y) = Σ_y' q(y'|x, y) Δ_edit(y, y'): edits (X, Y, Y'), distance (Y, Y'), to (X, Y)."""
    return np.asarray((edits * distance).sum(axis=-1))


def solve_fixed_point(
    contexts: Array,
    reference: Array,
    beta: float,
    distance: Array,
    proposal: Array,
    strength: int,
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
        optimum = gibbs(reference, cost, beta)
        edits = edit_kernel(optimum, proposal, strength)
        edit_cost = compute_expected_edit_cost(edits, distance)
        residual = float(np.abs(edit_cost - cost).max())
        if residual <= tolerance or iteration == most:
            break
        cost = (cost + edit_cost) / 2
    return World(Problem(contexts, reference, cost, beta), edits, distance, residual, iteration)


def make_world(contexts: Array, optimum: Array, beta: float, distance: Array, proposal: Array, strength: int) -> World:
    """The world in which a user of this strength edits towards `optimum`, (X, Y), positive.

    The edits, and so the costs, follow from the optimum alone, and π_ref ∝ π* exp(c/β) is the reference policy for
    which it is optimal: a fixed point by construction. The smaller β, the further π_ref is from π*.
    """
    edits = edit_kernel(optimum, proposal, strength)
    cost = compute_expected_edit_cost(edits, distance)
    problem = Problem(contexts, gibbs(optimum, -cost, beta), cost, beta)
    recomputed = compute_expected_edit_cost(edit_kernel(problem.optimum, proposal, strength), distance)
    return World(problem, edits, distance, float(np.abs(recomputed - cost).max()))
