"""Measure a policy on held-out edits: its texts and the log-losses that need its model."""

from collections.abc import Sequence
from dataclasses import asdict

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.data.record import EditRecord
from copydesk.policies import Policy, Sampling
from copydesk.simulate.held_out import HeldOutMetrics, compute_text_metrics
from copydesk.training.alignment import find_changed_tokens
from copydesk.training.encode import encode_log
from copydesk.training.logprobs import compute_token_logprobs


def write_greedy_texts(policy: Policy, held_out: Sequence[EditRecord], max_new_tokens: int = 512) -> list[str]:
    """What a policy writes at temperature 0 for the context of each held-out row."""
    contexts = [record.context for record in held_out]
    sampling = Sampling(temperature=0.0, max_new_tokens=max_new_tokens)
    return policy.respond(contexts, [(row,) for row in range(len(contexts))], sampling)


def measure_policy(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    held_out: Sequence[EditRecord],
    log: Sequence[EditRecord],
    *,
    max_length: int = 512,
    batch_size: int = 64,
) -> HeldOutMetrics:
    """Measure a policy on held-out edits.

    Args:
        model: the policy's.
        tokenizer: the model's.
        texts: what the policy writes for the context of each held-out row, see `write_greedy_texts`.
        held_out: rows that the policy was not trained on, none of them pending.
        log: the rows that it was trained on.
        max_length: as in training; the log-losses leave out rows with a longer answer.
        batch_size: rows in one forward pass.

    Raises:
        InputError: as `compute_text_metrics`; or no edited row fits into `max_length`.
    """
    text_metrics = compute_text_metrics(texts, held_out, log)
    edited = [record for record in held_out if record.edited]
    triples = encode_log(edited, tokenizer, max_length).triples
    total = total_changed = 0.0
    tokens = changed_tokens = 0
    for triple, logprobs in zip(triples, compute_token_logprobs(model, triples, batch_size=batch_size), strict=True):
        changed = torch.tensor(find_changed_tokens(triple.response, triple.edit))
        total -= logprobs.sum().item()
        total_changed -= logprobs[changed].sum().item()
        tokens += len(triple.edit)
        changed_tokens += int(changed.sum())
    return HeldOutMetrics(
        **asdict(text_metrics),
        log_loss=total / len(triples),
        log_loss_per_token=total / tokens,
        changed_log_loss=total_changed / len(triples),
        # White space that a tokenizer folds can be all that was edited; then no token is changed.
        changed_log_loss_per_token=total_changed / max(changed_tokens, 1),
    )
