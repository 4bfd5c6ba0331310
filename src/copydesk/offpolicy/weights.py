"""Importance weights: the probability of each answer under the evaluated policy divided by that under the logged one.

A policy that was an arm of the log needs no model: the choice among arms was random, and its probability was logged
(`compute_arm_weights`). Any other policy is compared by the probability of the text under it and under the policy that
answered (`compute_text_weights`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from copydesk.errors import InputError
from copydesk.offpolicy.estimators import FloatArray
from copydesk.offpolicy.overlap import compute_expected_sample_size
from copydesk.offpolicy.traffic import LoggedAnswer

if TYPE_CHECKING:
    from copydesk.policies.local import LocalPolicy

_CERTAIN_PROPENSITY = 1 - 1e-9


@dataclass(frozen=True)
class ImportanceWeights:
    """The usable rows with their weights.

    Attributes:
        rows: the n usable rows.
        weights: shape [n], at least 0; 1 in expectation.
        left_out: number of rows left out, by reason.
        unreachable: rows in which the policy could not have answered.
        retokenized: rows whose text tokenizes to another number of tokens than was logged.
        expected: for weights from texts, the expected effective sample size; see `compute_expected_sample_size`.
    """

    rows: Sequence[LoggedAnswer]
    weights: FloatArray
    left_out: Mapping[str, int]
    unreachable: int = 0
    retokenized: int = 0
    expected: float | None = None


def compute_arm_weights(rows: Sequence[LoggedAnswer], shares: Mapping[str, float]) -> ImportanceWeights:
    """Weights of an arm, or of a fixed mixture of arms: share of the arm that answered / its propensity.

    Uses only rows in which the ensemble chose and every one of the arms was available, so the estimate is for traffic
    since the last of them was added.

    Args:
        rows: the log.
        shares: shares of the arms, by name; they add up to 1.
    """
    left_out: Counter[str] = Counter()
    kept: list[LoggedAnswer] = []
    for row in rows:
        if not row.available_arms:
            left_out["a policy was asked for by name"] += 1
        elif not row.available_arms >= shares.keys():
            left_out["the policy was no arm then, or out of reach"] += 1
        else:
            kept.append(row)
    weights = np.array([shares.get(row.policy, 0.0) / row.propensity for row in kept])
    # Where another arm was certain to answer, this one had a probability of 0.
    unreachable = sum(
        row.propensity > _CERTAIN_PROPENSITY and shares.get(row.policy, 0.0) < _CERTAIN_PROPENSITY for row in kept
    )
    return ImportanceWeights(kept, weights, dict(left_out), unreachable)


def compute_text_weights(
    rows: Sequence[LoggedAnswer],
    policy: "LocalPolicy",
    open_arm: Callable[[str], "LocalPolicy"],
    *,
    batch_size: int = 8,
) -> ImportanceWeights:
    """Weights of any local policy: π(y|x) / μ(y|x), with μ the policy that answered, under the request's sampling.

    Given the policy that answered, E[w c] is the evaluated policy's cost, so this holds over all rows, however the
    answering policies were chosen.

    Args:
        rows: the log.
        policy: π.
        open_arm: opens a logged policy by name; called once for each, and only one is held at a time.
        batch_size: answers in one forward pass.

    Raises:
        InputError: a logged policy has another vocabulary, or cannot be opened.
    """
    from copydesk.offpolicy.scoring import score_answers, tokenize_answer, why_unscorable

    left_out: Counter[str] = Counter()
    kept: list[LoggedAnswer] = []
    for row in rows:
        reason = why_unscorable(row)
        if reason is None:
            kept.append(row)
        else:
            left_out[reason] += 1
    evaluated = score_answers(policy, kept, batch_size=batch_size)
    logged = np.zeros(len(kept))
    for name in sorted({row.policy for row in kept}):
        arm = open_arm(name)
        if arm.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
            raise InputError(
                f"--policy {policy.name}: its vocabulary is not that of {name}, which answered in this log, so the "
                "probabilities of a text cannot be compared; serve it to a share of the traffic: add it as an arm"
            )
        indices = [index for index, row in enumerate(kept) if row.policy == name]
        logged[indices] = score_answers(arm, [kept[index] for index in indices], batch_size=batch_size)
    possible = np.isfinite(logged)
    if lost := int((~possible).sum()):
        left_out["read again, its words are not what top_p let through"] = lost
        kept = [row for row, usable in zip(kept, possible, strict=True) if usable]
    retokenized = sum(row.tokens is not None and row.tokens != len(tokenize_answer(policy, row)) for row in kept)
    log_weights = evaluated[possible] - logged[possible]
    expected = compute_expected_sample_size(log_weights, [row.policy for row in kept])
    # Weights are capped at e^300, whose square does not overflow.
    return ImportanceWeights(kept, np.exp(np.minimum(log_weights, 300.0)), dict(left_out), 0, retokenized, expected)
