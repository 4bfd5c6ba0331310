"""The four learners as exact empirical minimisers over a finite class of policies.

Each returns the number of the member it chooses; among members that are equally good the first.
"""

import numpy as np

from copydesk.theory.log import LabLog
from copydesk.theory.policy_classes import PolicyClass
from copydesk.theory.problem import kl
from copydesk.theory.space import Array


def compute_sft_scores(members: PolicyClass, log: LabLog) -> Array:
    """ℓ_SUP of each member, mean_i log π(y'_i|x_i): (K,)."""
    return np.asarray(np.einsum("kxy,xy->k", members.log_policies, log.edit_counts) / log.n)


def compute_dpo_scores(members: PolicyClass, log: LabLog) -> Array:
    """ℓ_PREF of each member, mean_i log σ(s log π/π_ref (y'_i) − s log π/π_ref (y_i)): (K,).

    Rows with y' = y carry no preference; they add the same to every member.
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
    """Pessimistic offline RL: the member with the least cost by the worst function that the log allows.

    F_n are the functions whose mean squared error is within `width` of the least; it minimises over π ∈ Π
    max_{f ∈ F_n} mean_i E_{y ~ π(·|x_i)} [f(x_i, y) + β log π(y|x_i)/π_ref(y|x_i)]. A width of 0 is no pessimism.
    """
    paid = (log.counts * log.distance).sum(axis=2)
    errors = (members.costs**2 * log.response_counts - 2 * members.costs * paid).sum(axis=(1, 2)) / log.n
    allowed = members.costs[errors <= errors.min() + width]
    seen = log.contexts[:, None] * members.policies
    expected = seen.reshape(members.size, -1) @ allowed.reshape(len(allowed), -1).T
    leaving = members.beta * (kl(members.policies, members.reference) @ log.contexts)
    return int((expected.max(axis=1) + leaving).argmin())
