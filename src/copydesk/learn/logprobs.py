"""log π(y|x): how likely a model is to write an answer, as a sum over the answer's tokens."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch.nn.functional as F
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from copydesk.learn.attention import block_mask, dense_mask
from copydesk.learn.head import scoring_head
from copydesk.learn.packing import EDIT, RESPONSE, Layout


class TripleLogProbs(NamedTuple):
    """The log-probabilities of n triples under one model, float32: log π(y'|x) and log π(y|x), shape [n]."""

    edit: Tensor
    response: Tensor


@dataclass(frozen=True)
class Forward:
    """How a model is run on triples; `fitting_forward` finds the best that is exact for it.

    Attributes:
        layout: of the rows.
        attention: for packed rows, what computes it: it decides the form of the mask.
        fused: whether log-probabilities come straight from the output layer, a chunk of tokens at a time.
    """

    layout: Layout = "packed"
    attention: Literal["sdpa", "flex_attention"] = "sdpa"
    fused: bool = True


def batch_logprobs(model: nn.Module, batch: dict[str, Tensor], count: int, forward: Forward) -> TripleLogProbs:
    """log π(y'|x) and log π(y|x) for a batch that `lay_out` made.

    Args:
        model: a causal language model, with or without adapter, DDP or FSDP2 around it.
        batch: what `lay_out` returns; other entries are ignored.
        count: B, the triples in the batch.
        forward: how to run it; its layout is that of the batch.

    Returns:
        Each float32 of shape [B], in nats, summed over the answer's tokens. Where y was not laid out (nothing was
        edited, or only y' is needed) the second is the first.
    """
    inputs: dict[str, Any] = {"attention_mask": (batch["triple"] >= 0).long()}
    if forward.layout == "packed":
        make_mask: Any = block_mask if forward.attention == "flex_attention" else dense_mask
        mask = make_mask(batch["triple"], batch["branch"])
        inputs = {"attention_mask": mask, "position_ids": batch["position_ids"]}
    bare: nn.Module = extract_model_from_parallel(model)
    with scoring_head(bare, batch["source"], batch["target"], fused=forward.fused):
        logits = model(input_ids=batch["input_ids"], **inputs, use_cache=False).logits[0]
    target = batch["target"]
    per_token = logits[:, 0] if forward.fused else -F.cross_entropy(logits.float(), target, reduction="none")
    sums = [
        per_token.new_zeros(count).index_add(0, batch["owner"], per_token * (batch["part"] != other))
        for other in (RESPONSE, EDIT)
    ]
    return TripleLogProbs(*sums)
