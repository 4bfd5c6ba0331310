"""Scores logged answers: log π(y|x) under the request's temperature, top-p and token limit."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers import TopPLogitsWarper

from copydesk.offpolicy.estimators import FloatArray
from copydesk.offpolicy.traffic import LoggedAnswer
from copydesk.policies.base import Sampling
from copydesk.policies.local import LocalPolicy

_GREEDY_TEMPERATURE = 1e-5
"""The gateway treats a lower temperature as 0."""


def why_unscorable(row: LoggedAnswer) -> str | None:
    """Why the probability of an answer cannot be computed from its text; `None` where it can.

    Depends on the request and the finish reason only, not on the text.
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
    """The sampling temperature of an answer; 1 where the request set none."""
    return _get_number(row, "temperature")


def get_top_p(row: LoggedAnswer) -> float:
    """The top-p of an answer; 1 where the request set none."""
    return _get_number(row, "top_p")


def get_token_limit(row: LoggedAnswer) -> int:
    """The token limit of an answer; the gateway's default where the request set none."""
    limit = row.parameters.get("max_completion_tokens") or row.parameters.get("max_tokens")
    return Sampling().max_new_tokens if limit is None else int(limit)


def tokenize_answer(policy: LocalPolicy, row: LoggedAnswer) -> list[int]:
    """An answer in a policy's tokens, with the end of the turn unless it was truncated."""
    tokens = list(policy.tokenizer(row.response, add_special_tokens=False)["input_ids"])
    return tokens if row.finish_reason == "length" else [*tokens, policy.end_of_turn[-1]]


@torch.inference_mode()
def score_answers(policy: LocalPolicy, rows: Sequence[LoggedAnswer], *, batch_size: int = 8) -> FloatArray:
    """log π(y|x) of every answer, -inf for one that the policy can never give. Shows a progress bar on a terminal.

    This is the sum of the log-probabilities of the answer's tokens, with the logits divided by the request's
    temperature and restricted to its top-p. For an answer that ended it includes the probability of ending: the gateway
    stops at the end-of-turn or the end-of-text token. A truncated answer has no such factor.

    Args:
        policy: π.
        rows: n answers for which `why_unscorable` is `None`.
        batch_size: answers in one forward pass.

    Returns:
        Shape [n], in nats.
    """
    model: Any = policy.model
    model.eval()
    prompts = policy.encode([row.context for row in rows])
    answers = [tokenize_answer(policy, row) for row in rows]
    order = sorted(range(len(rows)), key=lambda index: -len(prompts[index]) - len(answers[index]))
    ends = sorted({policy.end_of_turn[-1], policy.tokenizer.eos_token_id or policy.end_of_turn[-1]})
    logprobs = np.zeros(len(rows))
    starts = range(0, len(order), batch_size)
    for start in tqdm(starts, desc=f"scoring with {policy.name}", leave=False, disable=not sys.stderr.isatty()):
        indices = order[start : start + batch_size]
        texts = [torch.tensor(prompts[index] + answers[index]) for index in indices]
        length = max(len(text) for text in texts)
        # Padding is on the right, where no scored token attends to it.
        ids = torch.stack([pad(text, (0, length - len(text)), value=policy.end_of_turn[-1]) for text in texts])
        mask = torch.stack([pad(torch.ones_like(text), (0, length - len(text))) for text in texts])
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits
        for index, row_logits in zip(indices, logits, strict=True):
            first, count = len(prompts[index]), len(answers[index])
            scores = row_logits[first - 1 : first - 1 + count]
            logprobs[index] = _sampled_logprob(scores, answers[index], rows[index], ends)
    return logprobs


def _sampled_logprob(logits: torch.Tensor, tokens: Sequence[int], row: LoggedAnswer, ends: Sequence[int]) -> float:
    """The log-probability of sampling these tokens from logits of shape [tokens, vocabulary]."""
    if not tokens:
        return 0.0
    scores: Any = logits.float() / get_sampling_temperature(row)
    if get_top_p(row) < 1:
        no_tokens: Any = None  # top-p does not depend on the previous tokens
        scores = TopPLogitsWarper(get_top_p(row))(no_tokens, scores)
    log_probs = scores.double().log_softmax(dim=-1)
    picked = log_probs.gather(1, torch.tensor(tokens, device=log_probs.device)[:, None])[:, 0]
    if row.finish_reason != "length":
        picked[-1] = log_probs[-1, list(ends)].logsumexp(dim=0)
    return float(picked.sum())


def _get_number(row: LoggedAnswer, name: str) -> float:
    value = row.parameters.get(name)
    return 1.0 if value is None else float(value)
