"""The same learners without a class: one free logit for each context and response, trained to convergence."""

import numpy as np

from copydesk.theory.log import LabLog
from copydesk.theory.problem import gibbs
from copydesk.theory.space import Array


def fit_table(
    reference: Array,
    log: LabLog,
    *,
    preference: float,
    supervision: float,
    ridge: float = 0.1,
    tolerance: float = 1e-9,
    most: int = 200,
) -> Array:
    """π ∝ π_ref exp(θ) that maximises n (preference · ℓ_PREF + supervision · ℓ_SUP) − ridge |θ|²/2: (X, Y).

    (1, 0) is DPO with s = 1, (0, 1) SFT, (1, λ) the early ensemble. Convex, by damped Newton steps until no derivative
    exceeds `tolerance` · n. Without the ridge DPO has no finite maximiser wherever some response was only ever edited
    away. In θ the preference of y' over y is σ(θ_y' − θ_y): the normaliser cancels.
    """
    wins = preference * log.counts.astype(np.float64)
    diagonal = np.arange(reference.shape[1])
    wins[:, diagonal, diagonal] = 0.0
    wanted = supervision * log.edit_counts
    theta = np.zeros_like(reference)
    loss = _loss(theta, reference, wins, wanted, ridge)
    for _ in range(most):
        gradient, hessian = _derivatives(theta, reference, wins, wanted, ridge)
        if np.abs(gradient).max() <= tolerance * log.n:
            break
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        size = 1.0
        while (tried := _loss(theta - size * step, reference, wins, wanted, ridge)) > loss and size > 1e-6:
            size /= 2
        theta = theta - size * step
        loss = tried
    return gibbs(reference, -theta, 1.0)


def _loss(theta: Array, reference: Array, wins: Array, wanted: Array, ridge: float) -> float:
    margins = theta[:, None, :] - theta[:, :, None]
    peak = theta.max(axis=1)
    normaliser = np.log((reference * np.exp(theta - peak[:, None])).sum(axis=1)) + peak
    unlikely = wanted.sum(axis=1) @ normaliser - (wanted * theta).sum()
    return float((wins * np.logaddexp(0.0, -margins)).sum() + unlikely + ridge / 2 * (theta**2).sum())


def _derivatives(theta: Array, reference: Array, wins: Array, wanted: Array, ridge: float) -> tuple[Array, Array]:
    """The gradient, (X, Y), and the Hessian, (X, Y, Y), of the loss."""
    doubt = 1 / (1 + np.exp(theta[:, None, :] - theta[:, :, None]))  # 1 − σ(margin), (X, Y, Y')
    pushed = wins * doubt
    policy = gibbs(reference, -theta, 1.0)
    total = wanted.sum(axis=1)
    gradient = pushed.sum(axis=2) - pushed.sum(axis=1) + total[:, None] * policy - wanted + ridge * theta
    bent = wins * doubt * (1 - doubt)
    bent = bent + np.swapaxes(bent, 1, 2)
    hessian = -bent - total[:, None, None] * policy[:, :, None] * policy[:, None, :]
    diagonal = np.arange(theta.shape[1])
    hessian[:, diagonal, diagonal] += bent.sum(axis=2) + total[:, None] * policy + ridge
    return gradient, hessian


def fit_cost_table(reference: Array, log: LabLog, beta: float, largest: float, pessimism: float) -> Array:
    """Pessimistic RL by tables: π ∝ π_ref exp(−f̄/β) with f̄ the mean cost seen plus pessimism · c_max / sqrt(2 N).

    f̄ is at most c_max = `largest`, which is what a response that was never given is taken to cost.
    """
    paid = (log.counts * log.distance).sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        upper = np.where(
            log.response_counts > 0,
            paid / log.response_counts + pessimism * largest / np.sqrt(2 * log.response_counts),
            largest,
        )
    return gibbs(reference, np.minimum(upper, largest), beta)
