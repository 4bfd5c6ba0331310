"""People as a process that moves a response towards π*: a Markov kernel, which the strong apply more often.

Costs that the user really causes: c is the mean length of their edits, and their edits lead to the π* of c.

c(x, y) = E_{y' ~ q(·|x,y)} Δ_edit(y, y'), π*_β ∝ π_ref exp(−c/β), and q is in detailed balance with π*_β. Two ways to
such a world: from π_ref, by iteration; or from π*_β, in closed form.
"""

from dataclasses import dataclass

import numpy as np

from copydesk.theory.problem import Array, Problem, gibbs


@dataclass(frozen=True)
class MixingRate:
    """How fast edits bring a response to π*_β.

    Attributes:
        gap: the absolute spectral gap of one step, 1 − λ, the smallest over contexts. λ is the largest modulus of an
            eigenvalue other than 1.
        left: λ^m, what a user of strength m leaves at most of the χ-distance to π*_β.
        contraction: Dobrushin's coefficient of the m steps: the share that they leave at most of any total variation
            between two distributions, the largest over contexts.
    """

    gap: float
    left: float
    contraction: float


def metropolis_kernel(target: Array, proposal: Array) -> Array:
    """The Metropolis-Hastings kernel of a symmetric proposal, in detailed balance with `target`.

    An edit y → y' that is tried is made with probability min(1, target(y')/target(y)), else the text stays.

    Args:
        target: (..., Y), positive.
        proposal: (..., Y, Y), symmetric; what rows lack of 1 counts as staying.

    Source: Metropolis et al., J. Chem. Phys. 21, 1953.
    """
    accepted = np.minimum(1.0, target[..., None, :] / target[..., :, None])
    moves = proposal * accepted
    stay = np.arange(target.shape[-1])
    moves[..., stay, stay] = 0.0
    moves[..., stay, stay] = 1 - moves.sum(axis=-1)
    return moves


def edit_kernel(target: Array, proposal: Array, strength: int) -> Array:
    """q(y'|x, y) of a user who tries `strength` local edits in turn: (X, Y, Y'), rows sum to 1.

    A power of a kernel in detailed balance with π*_β is itself in detailed balance with it.
    """
    return np.linalg.matrix_power(metropolis_kernel(target, proposal), strength)


def compute_mixing_rate(target: Array, proposal: Array, strength: int) -> MixingRate:
    """The spectral gap of one step and the contraction of `strength` steps; target (X, Y), proposal (X, Y, Y)."""
    step = metropolis_kernel(target, proposal)
    root = np.sqrt(target)
    symmetric = step * (root[..., :, None] / root[..., None, :])  # similar to the step, so with the same eigenvalues
    eigenvalues = np.linalg.eigvalsh((symmetric + np.swapaxes(symmetric, -1, -2)) / 2)
    moduli = np.sort(np.abs(eigenvalues), axis=-1)
    second = float(moduli[..., -2].max())
    steps = np.linalg.matrix_power(step, strength)
    apart = np.abs(steps[..., :, None, :] - steps[..., None, :, :]).sum(axis=-1) / 2
    return MixingRate(gap=1 - second, left=second**strength, contraction=float(apart.max()))


@dataclass(frozen=True)
class World:
    """A problem and the user who causes its costs.

    Attributes:
        problem: with c(x, y) = E_q Δ_edit(y, y').
        edits: q(y'|x, y), (X, Y, Y'), in detailed balance with the problem's optimum.
        distance: Δ_edit, (Y, Y).
        residual: the largest |E_q Δ_edit − c| over contexts and responses, where q is that of the optimum of c.
        iterations: how often the costs were put in; 0 in closed form.
    """

    problem: Problem
    edits: Array
    distance: Array
    residual: float
    iterations: int = 0

    @property
    def edited_distribution(self) -> Array:
        """μ(y'|x) = Σ_y π_ref(y|x) q(y'|x, y), what SFT sees: (X, Y)."""
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
    """Put the costs in until they come out again: c ← (c + E_q Δ_edit)/2, from the costs `start`, (X, Y).

    One always exists: the map is continuous and takes the costs within [0, 1] into themselves (Brouwer). It need not be
    the only one, so what is found depends on `start`; where it does not settle, `residual` says so.
    """
    cost = start
    for iteration in range(most + 1):
        optimum = gibbs(reference, cost, beta)
        edits = edit_kernel(optimum, proposal, strength)
        put_out = compute_expected_edit_cost(edits, distance)
        residual = float(np.abs(put_out - cost).max())
        if residual <= tolerance or iteration == most:
            break
        cost = (cost + put_out) / 2
    return World(Problem(contexts, reference, cost, beta), edits, distance, residual, iteration)


def make_world(contexts: Array, optimum: Array, beta: float, distance: Array, proposal: Array, strength: int) -> World:
    """The world in which `optimum`, (X, Y) and positive, is what a user of this strength edits towards.

    Their edits and so their costs follow from it alone, and π_ref ∝ π* exp(c/β) is the reference policy for which it is
    the optimum. It is a fixed point by construction. The smaller β, the further π_ref is from π*.
    """
    edits = edit_kernel(optimum, proposal, strength)
    cost = compute_expected_edit_cost(edits, distance)
    problem = Problem(contexts, gibbs(optimum, -cost, beta), cost, beta)
    again = compute_expected_edit_cost(edit_kernel(problem.optimum, proposal, strength), distance)
    return World(problem, edits, distance, float(np.abs(again - cost).max()))
