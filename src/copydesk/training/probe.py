"""Which way of running a model on triples is both fast and exact for it: asked of the model, not of a list."""

import logging
from typing import Any

import torch
from torch import nn

from copydesk.training.attention import RUN_BY_RUN
from copydesk.training.encode import Triple
from copydesk.training.logprobs import AttentionBackend, ForwardPlan, TripleLogProbs, batch_logprobs

logger = logging.getLogger(__name__)

_warned_models: set[str] = set()


def choose_forward(model: nn.Module, longest: int) -> ForwardPlan:
    """The fastest way to run a model that gives what running each sequence alone gives.

    Packed rows need attention that takes a mask, and no state or window that runs along the row; scoring in the output
    layer needs logits that nothing scales or caps afterwards. What a configuration does not tell is found by running
    the model on a few tokens both ways. A model that cannot have packed rows is named in one warning.

    Args:
        model: a causal language model with its weights, with or without adapter, nothing else around it.
        longest: the tokens of the longest context and answer; a sliding window that spans them never cuts.
    """
    config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
    plain = ForwardPlan(layout="separate", fused=False)
    wanted = _compute_probe_logprobs(model, plain)
    # An adapter on the output layer is at first no change at all, so that no probe would show it.
    ordinary_head = type(model.get_output_embeddings()) is nn.Linear  # type: ignore[operator]
    fused = ordinary_head and _logprobs_match(
        model, _compute_probe_logprobs(model, ForwardPlan(layout="separate")), wanted
    )
    reason = _find_packing_obstacle(config, longest)
    if reason is None:
        for attention in _rank_attention_backends(model):
            packed = ForwardPlan(attention=attention, fused=fused)
            if _logprobs_match(model, _compute_probe_logprobs(model, packed), wanted):
                return packed
        reason = "its layers carry more along a row than a mask can keep apart"
    name = type(model).__name__
    if name not in _warned_models:
        _warned_models.add(name)
        logger.warning("%s cannot take packed rows (%s): running y' and y apart, slower and as exact", name, reason)
    return ForwardPlan(layout="separate", fused=fused)


def _rank_attention_backends(model: nn.Module) -> tuple[AttentionBackend, ...]:
    """The ways to compute attention in packed rows."""
    if next(model.parameters()).is_cuda:
        return ("flex_attention", "sdpa")
    return (RUN_BY_RUN, "sdpa")


def _find_packing_obstacle(config: Any, longest: int) -> str | None:
    """What a few tokens would not show."""
    if config._attn_implementation not in ("sdpa", "flex_attention"):
        return f"its attention is {config._attn_implementation!r}; 'sdpa' takes a mask"
    window = getattr(config, "sliding_window", None)
    if window is not None and window < longest:
        return f"its attention slides over {window} tokens, and the longest row has {longest}"
    if getattr(config, "attention_chunk_size", None) is not None:
        return "its attention works in chunks of the row"
    return None


@torch.no_grad()
def _compute_probe_logprobs(model: nn.Module, forward: ForwardPlan) -> TripleLogProbs | None:
    """Two triples of a few tokens, in one row if rows are packed; `None` if the model cannot be run this way."""
    tokens = [(7 * place) % model.config.get_text_config().vocab_size for place in range(30)]  # type: ignore[operator, union-attr]
    triples = [
        Triple("probe", tuple(tokens[:9]), tuple(tokens[9:15]), (*tokens[9:11], *tokens[17:22])),
        Triple("probe", tuple(tokens[20:24]), tuple(tokens[2:5]), tuple(tokens[6:11])),
    ]
    batch = forward.lay_out(triples, with_response=True, row_tokens=64)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with forward.use_attention(model):
            return batch_logprobs(model, {name: tensor.to(device) for name, tensor in batch.items()}, 2, forward)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):
        return None
    finally:
        model.train(was_training)


def _logprobs_match(model: nn.Module, one: TripleLogProbs | None, other: TripleLogProbs | None) -> bool:
    if one is None or other is None:
        return False
    # Half precision leaves noise of a percent; a wrong mask or a forgotten scale is off by far more.
    tolerance = 1e-4 if next(model.parameters()).dtype == torch.float32 else 3e-2
    # Weights that are not numbers are for the training to complain of.
    pairs = zip(one, other, strict=True)
    return all(torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True) for a, b in pairs)
