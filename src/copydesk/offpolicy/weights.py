"""Importance weights: how much likelier an answer would have been, had another policy answered.

Two ways. A policy that was an arm of this log needs no model: the choice among arms was random, and its probability was
logged (`compute_arm_weights`). A policy that never answered is compared through the text, by the probabilities it and
the policy that answered give to the same words (`compute_text_weights`).
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
    """The rows that can be used, and their weights.

    Attributes:
        rows: n of them.
        weights: shape [n], at least 0; 1 on average.
        left_out: how many rows were left out, by why.
        unreachable: rows in which the policy could not have answered.
        retokenized: rows whose words make other tokens than were written, as far as the log can tell.
        expected: of weights from texts, the effective rows that can be relied on; see `compute_expected_sample_size`.
    """

    rows: Sequence[LoggedAnswer]
    weights: FloatArray
    left_out: Mapping[str, int]
    unreachable: int = 0
    retokenized: int = 0
    expected: float | None = None


def compute_arm_weights(rows: Sequence[LoggedAnswer], shares: Mapping[str, float]) -> ImportanceWeights:
    """Weights of an arm, or of a fixed mixture of arms: share of who answered / the propensity it was chosen with.

    Only rows in which the ensemble chose, and could have chosen every one of them. So the answer is about the traffic
    from when the last of them became an arm.

    Args:
        rows: the log.
        shares: of the arms, by name; they add up to 1.
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
    # Where another one was certain to answer, this one had a probability of 0.
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
    """Weights of any local policy: π(y|x) / μ(y|x), with μ the policy that answered, sampled as the request asked.

    Given who answered, E[w c] is the policy's cost; so it is over all rows, whoever chose and however.

    Args:
        rows: the log.
        policy: π.
        open_arm: gives a logged policy by name; asked once for each, and no two are held at a time.
        batch_size: answers in one forward pass.

    Raises:
        InputError: a logged policy writes other tokens, or cannot be opened.
    """
    from copydesk.offpolicy.scoring import score_answers, tokenize_answer, why_unscorable

    left_out: Counter[str] = Counter()
    kept: list[LoggedAnswer] = []
    for row in rows:
        why = why_unscorable(row)
        if why is None:
            kept.append(row)
        else:
            left_out[why] += 1
    wanted = score_answers(policy, kept, batch_size=batch_size)
    logged = np.zeros(len(kept))
    for name in sorted({row.policy for row in kept}):
        arm = open_arm(name)
        if arm.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
            raise InputError(
                f"--policy {policy.name}: it writes other tokens than {name}, which answered in this log; texts of two "
                "tokenizers cannot be compared; serve it to a share of the traffic instead: add it as an arm"
            )
        places = [place for place, row in enumerate(kept) if row.policy == name]
        logged[places] = score_answers(arm, [kept[place] for place in places], batch_size=batch_size)
    possible = np.isfinite(logged)
    if lost := int((~possible).sum()):
        left_out["read again, its words are not what top_p let through"] = lost
        kept = [row for row, stays in zip(kept, possible, strict=True) if stays]
    retokenized = sum(row.tokens is not None and row.tokens != len(tokenize_answer(policy, row)) for row in kept)
    log_weights = wanted[possible] - logged[possible]
    expected = compute_expected_sample_size(log_weights, [row.policy for row in kept])
    # A weight beyond e^300 is no less absurd at e^300, and its square is still a number.
    return ImportanceWeights(kept, np.exp(np.minimum(log_weights, 300.0)), dict(left_out), 0, retokenized, expected)
