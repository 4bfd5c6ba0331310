"""log π(y|x) under the sampling that was used: temperature, top-p, and where an answer was cut off."""

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
