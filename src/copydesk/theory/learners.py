"""The lab's learners (SFT, DPO, RL, early ensemble) and the logs that they learn from.

`select_*_member` are exact empirical minimisers over a finite policy class; each returns the index of the member it
selects, the first one among ties. `fit_table` and `fit_cost_table` learn without a class: one free logit for each
context and response, trained to convergence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from copydesk.theory.bounds import rl_width
from copydesk.theory.lab import LabSetting
from copydesk.theory.policy_classes import PolicyClass
from copydesk.theory.problem import Array, gibbs, kl
from copydesk.theory.users import World


@dataclass(frozen=True)
class LabLog:
    """n triples (x, y, y') as counts.

    Attributes:
        counts: number of occurrences of each triple, (X, Y, Y').
        distance: Δ_edit, (Y, Y').
    """

    counts: NDArray[np.int64]
    distance: Array

    @cached_property
    def n(self) -> int:
        """Number of triples."""
        return int(self.counts.sum())

    @cached_property
    def response_counts(self) -> Array:
        """Number of occurrences of each response, (X, Y)."""
        return np.asarray(self.counts.sum(axis=2), dtype=np.float64)

    @cached_property
    def edit_counts(self) -> Array:
        """Number of occurrences of each edit, over all responses, (X, Y')."""
        return np.asarray(self.counts.sum(axis=1), dtype=np.float64)

    @cached_property
    def contexts(self) -> Array:
        """Share of each context, (X,)."""
        return np.asarray(self.response_counts.sum(axis=1) / self.n)

    def __add__(self, other: "LabLog") -> "LabLog":
        return LabLog(self.counts + other.counts, self.distance)


def draw_lab_log(world: World, n: int, rng: np.random.Generator) -> LabLog:
    """Draw n triples as in the offline phase of Protocol 1: x ~ ρ, y ~ π_ref(·|x), y' ~ q(·|x, y)."""
    problem = world.problem
    joint = problem.contexts[:, None, None] * problem.reference[:, :, None] * world.edits
    counts = rng.multinomial(n, joint.ravel() / joint.sum()).reshape(joint.shape)
    return LabLog(np.asarray(counts, dtype=np.int64), world.distance)


def compute_sft_scores(members: PolicyClass, log: LabLog) -> Array:
    """ℓ_SUP of each member, mean_i log π(y'_i|x_i): (K,)."""
    return np.asarray(np.einsum("kxy,xy->k", members.log_policies, log.edit_counts) / log.n)


def compute_dpo_scores(members: PolicyClass, log: LabLog) -> Array:
    """ℓ_PREF of each member, mean_i log σ(s log π/π_ref (y'_i) − s log π/π_ref (y_i)): (K,).

    Rows with y' = y carry no preference: they add the same constant to every member.
    """
    return np.asarray(np.einsum("kxyz,xyz->k", members.log_preferences, log.counts.astype(np.float64)) / log.n)


def select_sft_member(members: PolicyClass, log: LabLog) -> int:
    """The member that maximises ℓ_SUP."""
    return int(compute_sft_scores(members, log).argmax())


def select_dpo_member(members: PolicyClass, log: LabLog) -> int:
    """The member that maximises ℓ_PREF."""
    return int(compute_dpo_scores(members, log).argmax())


def select_early_member(members: PolicyClass, log: LabLog, supervision: float) -> int:
    """The member that maximises ℓ_PREF + λ ℓ_SUP, with λ = `supervision`."""
    return int((compute_dpo_scores(members, log) + supervision * compute_sft_scores(members, log)).argmax())


def select_rl_member(members: PolicyClass, log: LabLog, width: float) -> int:
    """Pessimistic offline RL: the member with the lowest cost under the worst cost function that the log allows.

    F_n are the functions whose mean squared error is within `width` of the smallest. The member minimises
    max_{f ∈ F_n} mean_i E_{y ~ π(·|x_i)} [f(x_i, y) + β log π(y|x_i)/π_ref(y|x_i)]. A width of 0 means no pessimism.
    """
    paid = (log.counts * log.distance).sum(axis=2)
    errors = (members.costs**2 * log.response_counts - 2 * members.costs * paid).sum(axis=(1, 2)) / log.n
    allowed = members.costs[errors <= errors.min() + width]
    seen = log.contexts[:, None] * members.policies
    expected = seen.reshape(members.size, -1) @ allowed.reshape(len(allowed), -1).T
    kl_penalty = members.beta * (kl(members.policies, members.reference) @ log.contexts)
    return int((expected.max(axis=1) + kl_penalty).argmin())


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

    (preference, supervision) = (1, 0) is DPO with s = 1, (0, 1) SFT, (1, λ) the early ensemble. The problem is convex
    and solved by damped Newton steps until no derivative exceeds `tolerance` · n. Without the ridge DPO has no finite
    maximiser where a response was always edited away. The preference of y' over y is σ(θ_y' − θ_y), since the
    normaliser cancels.
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
    """Pessimistic RL by tables: π ∝ π_ref exp(−f̄/β), with f̄ the mean observed cost plus pessimism · c_max / sqrt(2 N).

    f̄ is at most c_max = `largest`, which is also the cost assigned to a response that never occurred.
    """
    paid = (log.counts * log.distance).sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        upper = np.where(
            log.response_counts > 0,
            paid / log.response_counts + pessimism * largest / np.sqrt(2 * log.response_counts),
            largest,
        )
    return gibbs(reference, np.minimum(upper, largest), beta)


LEARNERS = ("sft", "dpo", "rl", "early")
BOUND_DELTA = 0.05
"""δ: the probability with which a bound may fail."""
EARLY_LAMBDA = 0.3
"""λ of the early ensemble, fixed before anything was measured."""


def select_members(setting: LabSetting, log: LabLog) -> dict[str, int]:
    """The index of the member that each learner selects."""
    members = setting.members
    return {
        "sft": select_sft_member(members, log),
        "dpo": select_dpo_member(members, log),
        "rl": select_rl_member(members, log, rl_width(setting.coefficients, log.n, BOUND_DELTA)),
        "early": select_early_member(members, log, EARLY_LAMBDA),
    }


def compute_subopt(setting: LabSetting, chosen: Mapping[str, int]) -> dict[str, float]:
    """SubOpt of each selected member, in units of cost."""
    return {name: setting.world.problem.suboptimality(setting.members.policies[k]) for name, k in chosen.items()}


def compute_table_subopt(setting: LabSetting, log: LabLog) -> dict[str, float]:
    """SubOpt of each learner without a class: softmax tables trained to convergence."""
    problem = setting.world.problem
    reference = problem.reference
    largest = setting.coefficients.c_max
    doubt = float(np.sqrt(np.log(reference.size / BOUND_DELTA)))
    tables = {
        "sft": fit_table(reference, log, preference=0, supervision=1),
        "dpo": fit_table(reference, log, preference=1, supervision=0),
        "rl": fit_cost_table(reference, log, problem.beta, largest, doubt),
        "early": fit_table(reference, log, preference=1, supervision=EARLY_LAMBDA),
    }
    return {name: problem.suboptimality(table) for name, table in tables.items()}
