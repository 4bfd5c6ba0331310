"""log π(y|x): how likely a model is to write an answer, as a sum over the answer's tokens."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch.nn.functional as F
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from copydesk.training.attention import RUN_BY_RUN, build_block_mask, build_dense_mask
from copydesk.training.encode import Triple
from copydesk.training.head import scoring_head
from copydesk.training.packing import EDIT, RESPONSE, Layout, lay_out

AttentionBackend = Literal["sdpa", "flex_attention", "copydesk_run_by_run"]


class TripleLogProbs(NamedTuple):
    """The log-probabilities of n triples under one model, float32: log π(y'|x) and log π(y|x), shape [n]."""

    edit: Tensor
    response: Tensor


@dataclass(frozen=True)
class ForwardPlan:
    """How a model is run on triples; `choose_forward` finds the best that is exact for it.

    Attributes:
        layout: of the rows.
        attention: for packed rows, what computes it: SDPA with a mask, FlexAttention with a block mask, or SDPA run by
            run (see `copydesk.training.attention`). The model must be set to it, see `use_attention`.
        fused: whether log-probabilities come straight from the output layer, a chunk of tokens at a time.
    """

    layout: Layout = "packed"
    attention: AttentionBackend = "sdpa"
    fused: bool = True

    def lay_out(
        self, triples: Sequence[Triple], *, with_response: bool, row_tokens: int | None = None
    ) -> dict[str, Tensor]:
        """Lay out triples for this way, see `packing.lay_out`; by default in one row where that costs nothing."""
        if row_tokens is None and self.attention != "sdpa":
            row_tokens = sys.maxsize
        return lay_out(triples, with_response=with_response, layout=self.layout, row_tokens=row_tokens)

    def build_model_inputs(self, batch: dict[str, Tensor]) -> dict[str, Any]:
        """What a model is called with for a batch that `lay_out` made."""
        about: dict[str, Any] = {"attention_mask": (batch["triple"] >= 0).long()}
        if self.layout == "packed":
            about = {"position_ids": batch["position_ids"]}
            if self.attention == RUN_BY_RUN:
                # Any mask of four dimensions is passed on as it is; without one, Transformers would make its own.
                about |= {"attention_mask": batch["triple"].new_ones(1, 1, 1, 1), "runs": batch["runs"].tolist()}
            else:
                make_mask: Any = build_block_mask if self.attention == "flex_attention" else build_dense_mask
                about["attention_mask"] = make_mask(batch["triple"], batch["branch"])
        return {"input_ids": batch["input_ids"], **about, "use_cache": False}

    @contextmanager
    def use_attention(self, model: nn.Module) -> Iterator[None]:
        """Set a model to this attention while this lasts, which is to include the backward pass."""
        config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
        before = config._attn_implementation
        if self.layout == "packed":
            config._attn_implementation = self.attention
        try:
            yield
        finally:
            config._attn_implementation = before


def batch_logprobs(model: nn.Module, batch: dict[str, Tensor], count: int, forward: ForwardPlan) -> TripleLogProbs:
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
    inputs = forward.build_model_inputs(batch)
    bare: nn.Module = extract_model_from_parallel(model)
    with scoring_head(bare, batch["source"], batch["target"], fused=forward.fused):
        logits = model(**inputs).logits[0]
    target = batch["target"]
    per_token = logits[:, 0] if forward.fused else -F.cross_entropy(logits.float(), target, reduction="none")
    sums = [
        per_token.new_zeros(count).index_add(0, batch["owner"], per_token * (batch["part"] != other))
        for other in (RESPONSE, EDIT)
    ]
    return TripleLogProbs(*sums)
