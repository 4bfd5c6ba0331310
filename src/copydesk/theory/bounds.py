"""Upper bounds on SubOpt of each learner, with probability at least 1 − δ over the log.

Proofs and assumptions are in `docs/theory.md`. All bounds assume that the log is drawn by Protocol 1 with π_ref, that Π
is finite and contains π*_β, and that the learner finds the empirical minimiser over Π.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, inf, log, pi, sqrt

import numpy as np

from copydesk.theory.policy_classes import (
    PolicyClass,
    chi_distance,
    largest_cost,
    largest_margin,
    preference_coverage,
    single_policy_coverage,
)
from copydesk.theory.problem import kl
from copydesk.theory.users import World, compute_gamma_min


@dataclass(frozen=True)
class Bound:
    """A bound and the quantities it is computed from, by their names in `docs/theory.md`."""

    value: float
    ingredients: Mapping[str, float]


@dataclass(frozen=True)
class BoundCoefficients:
    """What the bounds need to know about a world and a policy class; independent of n and δ.

    Attributes:
        members: |Π| = |F|.
        beta: β.
        scale: s, the β of DPO's loss.
        c_pref: C_PREF (`preference_coverage`), in units of cost².
        v_max: V_max (`largest_margin`), in nats.
        left: χ_q, the χ-distance of the distribution of edits to π* (`chi_distance`).
        gamma_left: (1 − γ_min) χ(π_ref, π*), which χ_q cannot exceed (lemma 5).
        distance_left: E_x (1 − γ_min(x)) D_x(π_ref, π*), which the total variation of the edits to π* cannot exceed.
        ratio: W, the largest π(y|x)/π*(y|x) of any member.
        c_2: C₂ (`single_policy_coverage`).
        c_max: the largest cost.
        spread: R, the largest β KL(π(·|x) ‖ π*(·|x)) of any member and context, in units of cost.
    """

    members: int
    beta: float
    scale: float
    c_pref: float
    v_max: float
    left: float
    gamma_left: float
    distance_left: float
    ratio: float
    c_2: float
    c_max: float
    spread: float


def compute_coefficients(world: World, members: PolicyClass) -> BoundCoefficients:
    """Compute the coefficients by exact sums."""
    problem = world.problem
    optimum = problem.optimum
    gamma_min = compute_gamma_min(optimum, world.edits)
    distances = np.abs(problem.reference - optimum).sum(axis=-1) / 2
    return BoundCoefficients(
        members=members.size,
        beta=problem.beta,
        scale=members.scale,
        c_pref=preference_coverage(world, members),
        v_max=largest_margin(world, members),
        left=chi_distance(problem.contexts, world.edited_distribution, optimum),
        gamma_left=float(1 - gamma_min.min()) * chi_distance(problem.contexts, problem.reference, optimum),
        distance_left=float(problem.contexts @ ((1 - gamma_min) * distances)),
        ratio=float((members.policies / optimum).max()),
        c_2=single_policy_coverage(problem),
        c_max=largest_cost(world),
        spread=problem.beta * float(np.max(kl(members.policies, optimum))),
    )


def dpo_bound(given: BoundCoefficients, n: int, delta: float) -> Bound:
    """DPO: sqrt(2 C_PREF log(|Π|/δ) / n) / (s σ'(−V_max)).

    From the paper: SubOpt ≤ ε if n ≥ 2 C_PREF log(|Π|/δ) / (s² σ'(−V_max)² ε²), where the paper writes β for s and
    leaves the constant open. Only C_PREF and V_max depend on the user (theorem 1).
    """
    slope = exp(-given.v_max) / (1 + exp(-given.v_max)) ** 2
    complexity = log(given.members / delta) / n
    value = sqrt(2 * given.c_pref * complexity) / (given.scale * slope) if given.c_pref < inf else inf
    return Bound(value, {"C_PREF": given.c_pref, "log(|Π|/δ)/n": complexity, "s": given.scale,
                         "V_max": given.v_max, "σ'(−V_max)": slope})  # fmt: skip


def sft_bound(given: BoundCoefficients, n: int, delta: float) -> Bound:
    """SFT: 2 β φ(W) (sqrt(log(|Π|/δ) / n) + sqrt(2) χ_q)². Ours (theorem 2).

    The first term is the estimation error. The second is the distance to π* that remains after one edit, and does not
    fall with n: χ_q ≤ λ χ(π_ref, π*) ≤ (1 − γ_min) χ(π_ref, π*), with 1 − λ the spectral gap of the user.
    """
    return _sft_bound(given, n, delta, given.left)


def sft_gamma_bound(given: BoundCoefficients, n: int, delta: float) -> Bound:
    """SFT's bound where only γ_min is known of the user: χ_q is replaced by (1 − γ_min) χ(π_ref, π*)."""
    return _sft_bound(given, n, delta, given.gamma_left)


def _sft_bound(given: BoundCoefficients, n: int, delta: float, left: float) -> Bound:
    complexity = log(given.members / delta) / n
    phi = hellinger_to_kl(given.ratio)
    value = 2 * given.beta * phi * (sqrt(complexity) + sqrt(2) * left) ** 2
    return Bound(value, {"log(|Π|/δ)/n": complexity, "χ_q": left, "β": given.beta,
                         "W": given.ratio, "φ(W)": phi})  # fmt: skip


def sft_distance_bound(given: BoundCoefficients, n: int, delta: float) -> Bound:
    """SFT in total variation: D(π̂, π*) ≤ sqrt(2 log(|Π|/δ) / n) + E_x (1 − γ_min(x)) D_x(π_ref, π*).

    Also requires that Π contains the policy of the edits, q∘π_ref (the paper's Assumption 2; theorem 2).
    """
    complexity = log(given.members / delta) / n
    return Bound(sqrt(2 * complexity) + given.distance_left,
                 {"log(|Π|/δ)/n": complexity, "(1 − γ_min) D": given.distance_left})  # fmt: skip


def rl_bound(given: BoundCoefficients, n: int, delta: float) -> Bound:
    """Pessimistic RL: c_max sqrt(L) (sqrt(28 C₂ / 3) + sqrt(2)) + R sqrt(L / 2), L = log(3 |Π|/δ) / n.

    Ours (theorem 3). It holds for `select_rl_member` with the width of `rl_width`, and requires only that the log
    covers π* (C₂), not every policy of the class. The last two terms account for the sampling of contexts.
    """
    complexity = log(3 * given.members / delta) / n
    costs = given.c_max * sqrt(28 / 3 * given.c_2 * complexity)
    contexts = given.c_max * sqrt(2 * complexity) + given.spread * sqrt(complexity / 2)
    return Bound(costs + contexts, {"log(3|Π|/δ)/n": complexity, "C₂": given.c_2, "c_max": given.c_max,
                                    "R": given.spread})  # fmt: skip


def rl_width(given: BoundCoefficients, n: int, delta: float) -> float:
    """(7/3) c_max² log(3 |F|/δ) / n: how much the squared error of an allowed function may exceed the smallest one."""
    return 7 / 3 * given.c_max**2 * log(3 * given.members / delta) / n


def late_bound(rounds: int, arms: int, spread: float) -> Bound:
    """UCB: expected regret against the best arm ≤ R (4 sqrt(2 K T log T) + (1 + π²/3) K) (theorem 4).

    For losses within an interval of length R = `spread`, and α = sqrt(2) R. After Auer, Cesa-Bianchi and Fischer,
    Machine Learning 47, 2002.
    """
    if rounds < 1:
        raise ValueError("the bound needs at least one round")
    value = spread * (4 * sqrt(2 * arms * rounds * log(rounds)) + (1 + pi**2 / 3) * arms)
    return Bound(value, {"T": float(rounds), "K": float(arms), "R": spread})


def hellinger_to_kl(ratio: float) -> float:
    """φ(W): where π/π' ≤ W, KL(π ‖ π') ≤ φ(W) Σ (√π − √π')²; 2 at W = 1, about log W for large W (lemma 2)."""
    if abs(ratio - 1) < 1e-6:
        return 2.0
    return (ratio * log(ratio) - ratio + 1) / (sqrt(ratio) - 1) ** 2
