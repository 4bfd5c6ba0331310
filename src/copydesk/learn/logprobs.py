"""log π(y|x): how likely a model is to write an answer, as a sum over the answer's tokens."""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from copydesk.learn.encode import Triple


class TripleLogProbs(NamedTuple):
    """The log-probabilities of n triples under one model, float32 on CPU: log π(y'|x) and log π(y|x), shape [n]."""

    edit: Tensor
    response: Tensor


def collate(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> dict[str, Tensor]:
    """Lay out B pairs (context, answer) of token ids as one batch, padded on the right.

    Returns:
        `input_ids` and `attention_mask`, int64 of shape [B, T]; and `scored`, bool of shape [B, T]: true at the
        positions whose *next* token belongs to the answer. What fills the padding is never read nor scored, so it
        needs no padding token of its own.
    """
    width = max(len(context) + len(answer) for context, answer in pairs)
    input_ids = torch.zeros(len(pairs), width, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    scored = torch.zeros(len(pairs), width, dtype=torch.bool)
    for row, (context, answer) in enumerate(pairs):
        end = len(context) + len(answer)
        input_ids[row, :end] = torch.tensor([*context, *answer])
        attention_mask[row, :end] = 1
        scored[row, len(context) - 1 : end - 1] = True
    return {"input_ids": input_ids, "attention_mask": attention_mask, "scored": scored}


def sequence_logprobs(model: nn.Module, input_ids: Tensor, attention_mask: Tensor, scored: Tensor) -> Tensor:
    """log π(answer|context) for each row of a batch made by `collate`.

    Logits are computed only at the scored positions, so memory grows with the answers' tokens times the vocabulary
    and not with the contexts'. The logarithm is taken in float32.

    Returns:
        float32 of shape [B], in nats, summed over each answer's tokens.
    """
    logits = model(
        input_ids=input_ids, attention_mask=attention_mask, logits_to_keep=scored, use_cache=False
    ).logits  # [tokens scored, vocabulary]
    targets = input_ids[:, 1:][scored[:, :-1]]
    per_token = -F.cross_entropy(logits.float(), targets, reduction="none")
    return per_token.new_zeros(scored.shape).masked_scatter(scored, per_token).sum(dim=1)


@torch.no_grad()
def score_triples(
    model: nn.Module, triples: Sequence[Triple], *, batch_size: int = 8, description: str = "scoring"
) -> TripleLogProbs:
    """log π(y'|x) and log π(y|x) of every triple, without gradient and without dropout.

    Run on the reference policy it gives the reference log-probabilities, which every method's training on the same
    triples can share. An unedited row is run once. Shows a progress bar on a terminal.
    """
    sequences = [(triple.context, triple.edit) for triple in triples]
    sequences += [(triple.context, triple.response) for triple in triples if triple.edited]
    # Neighbours of like length waste little on padding; the longest first, so that too little memory shows at once.
    order = sorted(range(len(sequences)), key=lambda i: -sum(map(len, sequences[i])))
    scores = torch.zeros(len(sequences))
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    for start in tqdm(range(0, len(order), batch_size), desc=description, leave=False, disable=not sys.stderr.isatty()):
        rows = order[start : start + batch_size]
        batch = {name: tensor.to(device) for name, tensor in collate([sequences[i] for i in rows]).items()}
        scores[rows] = sequence_logprobs(model, **batch).cpu()
    model.train(was_training)
    edit, response = scores[: len(triples)], scores[: len(triples)].clone()
    response[torch.tensor([triple.edited for triple in triples], dtype=torch.bool)] = scores[len(triples) :]
    return TripleLogProbs(edit, response)
