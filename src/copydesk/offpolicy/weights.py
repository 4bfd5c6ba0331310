"""Importance weights: how much likelier an answer would have been, had another policy answered.

Two ways. A policy that was an arm of this log needs no model: the choice among arms was random, and its probability was
logged (`compute_arm_weights`). A policy that never answered is compared through the text, by the probabilities it and the
policy that answered give to the same words (`compute_text_weights`).

log π(y|x) under the sampling that was really used: temperature, top-p, and where an answer was cut off.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import pad
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers import TopPLogitsWarper

from copydesk.errors import InputError
from copydesk.offpolicy.estimators import FloatArray
from copydesk.offpolicy.overlap import compute_expected_sample_size
from copydesk.offpolicy.traffic import LoggedAnswer
from copydesk.policies.base import Sampling
from copydesk.policies.local import LocalPolicy

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


_GREEDY_TEMPERATURE = 1e-5
"""Below this the gateway takes a temperature for 0."""


def why_unscorable(row: LoggedAnswer) -> str | None:
    """Why the probability of an answer cannot be told from its text; `None` where it can.

    What decides is the request and how the answer ended, not what was written.
    """
    if get_sampling_temperature(row) < _GREEDY_TEMPERATURE:
        return "temperature 0: an answer that is not drawn at random says nothing of others"
    if row.parameters.get("stop"):
        return "the request had stop strings: where the answer went on is not known"
    if row.parameters.get("presence_penalty") or row.parameters.get("frequency_penalty"):
        return "the request had penalties on repetition"
    if row.finish_reason not in ("stop", "length"):
        return "how the answer ended was not logged"
    return None


def get_sampling_temperature(row: LoggedAnswer) -> float:
    """The temperature an answer was sampled at; 1 where the request did not say."""
    return _get_number(row, "temperature")


def get_top_p(row: LoggedAnswer) -> float:
    """The share of the probability that could be sampled from; 1 where the request did not say."""
    return _get_number(row, "top_p")


def get_token_limit(row: LoggedAnswer) -> int:
    """After how many tokens an answer was cut off; the gateway's own limit where the request did not say."""
    limit = row.parameters.get("max_completion_tokens") or row.parameters.get("max_tokens")
    return Sampling().max_new_tokens if limit is None else int(limit)


def tokenize_answer(policy: LocalPolicy, row: LoggedAnswer) -> list[int]:
    """An answer in a policy's tokens, with the one that ends it, unless it was cut off."""
    words = list(policy.tokenizer(row.response, add_special_tokens=False)["input_ids"])
    return words if row.finish_reason == "length" else [*words, policy.end_of_turn[-1]]


@torch.inference_mode()
def score_answers(policy: LocalPolicy, rows: Sequence[LoggedAnswer], *, batch_size: int = 8) -> FloatArray:
    """log π(y|x) of every answer, -inf for one that the policy would never give. Shows a progress bar on a terminal.

    The sum over the answer's tokens of the log-probability of each after the logits are divided by the request's
    temperature and cut at its top-p. An answer that ended has its end as a factor: the gateway ends it at the token
    that ends a turn or at the one that ends a text. An answer that was cut off has none.

    Args:
        policy: π.
        rows: n answers that are not `unscorable`.
        batch_size: answers in one forward pass.

    Returns:
        Shape [n], in nats.
    """
    model: Any = policy.model
    model.eval()
    prompts = policy.encode([row.context for row in rows])
    answers = [tokenize_answer(policy, row) for row in rows]
    order = sorted(range(len(rows)), key=lambda place: -len(prompts[place]) - len(answers[place]))
    ends = sorted({policy.end_of_turn[-1], policy.tokenizer.eos_token_id or policy.end_of_turn[-1]})
    found = np.zeros(len(rows))
    starts = range(0, len(order), batch_size)
    for start in tqdm(starts, desc=f"{policy.name} reads", leave=False, disable=not sys.stderr.isatty()):
        places = order[start : start + batch_size]
        texts = [torch.tensor(prompts[place] + answers[place]) for place in places]
        length = max(len(text) for text in texts)
        # Padding stands behind, where no token that counts attends to it.
        ids = torch.stack([pad(text, (0, length - len(text)), value=policy.end_of_turn[-1]) for text in texts])
        mask = torch.stack([pad(torch.ones_like(text), (0, length - len(text))) for text in texts])
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits
        for place, row_logits in zip(places, logits, strict=True):
            first, count = len(prompts[place]), len(answers[place])
            scores = row_logits[first - 1 : first - 1 + count]
            found[place] = _sampled_logprob(scores, answers[place], rows[place], ends)
    return found


def _sampled_logprob(logits: torch.Tensor, tokens: Sequence[int], row: LoggedAnswer, ends: Sequence[int]) -> float:
    """The log-probability of sampling these tokens from logits of shape [tokens, vocabulary]."""
    if not tokens:
        return 0.0
    scores: Any = logits.float() / get_sampling_temperature(row)
    if get_top_p(row) < 1:
        nothing: Any = None  # top-p does not look at the tokens so far
        scores = TopPLogitsWarper(get_top_p(row))(nothing, scores)
    log_probs = scores.double().log_softmax(dim=-1)
    picked = log_probs.gather(1, torch.tensor(tokens, device=log_probs.device)[:, None])[:, 0]
    if row.finish_reason != "length":
        picked[-1] = log_probs[-1, list(ends)].logsumexp(dim=0)
    return float(picked.sum())


def _get_number(row: LoggedAnswer, name: str) -> float:
    value = row.parameters.get(name)
    return 1.0 if value is None else float(value)
