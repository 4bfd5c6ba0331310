"""People as a process that moves a response towards π*: a Markov kernel, which the strong apply more often."""

from dataclasses import dataclass

import numpy as np

from copydesk.theory.space import Array


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
