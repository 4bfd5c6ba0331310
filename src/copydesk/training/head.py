"""From hidden states to log-probabilities of given tokens, without ever holding all logits.

A language model's largest tensor is its logits, tokens x vocabulary. Only the tokens of answers are scored, and those a
chunk at a time, so memory grows with neither.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Logits held at a time: 128 MiB of float32.
_CHUNK_LOGITS = 2**25


def token_logprobs(hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor) -> Tensor:
    """log softmax(hidden weightᵀ + bias)[target], in float32.

    Args:
        hidden: shape [N, D].
        weight: shape [V, D].
        bias: shape [V].
        target: int64 of shape [N].

    Returns:
        float32 of shape [N]. In the backward pass tokens whose gradient is zero cost nothing: so it is, in DPO, with
        what y and y' have in common, whose terms cancel in the margin.
    """
    result: Tensor = _TokenLogProbs.apply(hidden, weight, bias, target)  # type: ignore[no-untyped-call]
    return result


class _TokenLogProbs(torch.autograd.Function):
    """With p = softmax(logits), the gradient of a token's log-probability is (onehot(target) - p) on its logits.

    Where the weights are trained the backward pass computes the logits again, to pay for them in time and not memory;
    but for the last chunk, which is kept, as the backward pass needs room for one anyway. Where the weights are frozen
    (an adapter is trained) the gradient on a hidden state is known in the forward pass, up to the factor that the
    backward pass brings, and nothing is computed twice.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor) -> Tensor:
        ctx.frozen = not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2])
        with_slope = ctx.frozen and ctx.needs_input_grad[0]
        result = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        log_total = torch.empty_like(result)
        slope = torch.empty_like(hidden) if with_slope else hidden.new_empty(0)
        kept = hidden.new_empty(0)
        ctx.kept_from = 0
        for part in _iter_chunks(len(hidden), len(weight)):
            logits = F.linear(hidden[part], weight, bias).float()
            log_total[part] = logits.logsumexp(dim=1)
            result[part] = logits.gather(1, target[part, None])[:, 0] - log_total[part]
            if with_slope:
                chance = logits.sub_(log_total[part, None]).exp_().to(weight.dtype)
                slope[part] = weight[target[part]] - chance @ weight
            elif not ctx.frozen and part.stop >= len(hidden):
                kept = logits.sub_(log_total[part, None]).exp_()
                ctx.kept_from = part.start
        ctx.save_for_backward(*([slope] if ctx.frozen else [hidden, weight, bias, target, log_total, kept]))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        if ctx.frozen:
            (slope,) = ctx.saved_tensors
            return slope * gradient[:, None].to(slope.dtype), None, None, None
        hidden, weight, bias, target, log_total, kept = ctx.saved_tensors
        to_hidden, to_weight = torch.zeros_like(hidden), torch.zeros_like(weight)
        to_bias = None if bias is None else torch.zeros_like(bias)

        def add(tokens: Tensor, chance: Tensor) -> None:
            to_logits = chance.mul_(-gradient[tokens, None])
            to_logits.scatter_add_(1, target[tokens, None], gradient[tokens, None])
            to_logits = to_logits.to(weight.dtype)
            to_hidden[tokens] = to_logits @ weight
            to_weight.addmm_(to_logits.T, hidden[tokens])
            if to_bias is not None:
                to_bias.add_(to_logits.sum(dim=0))

        needed = gradient.nonzero()[:, 0]
        again, at_hand = needed[needed < ctx.kept_from], needed[needed >= ctx.kept_from]
        for part in _iter_chunks(len(again), len(weight)):
            tokens = again[part]
            logits = F.linear(hidden[tokens], weight, bias).float()
            add(tokens, logits.sub_(log_total[tokens, None]).exp_())
        if len(at_hand):
            whole = len(at_hand) == len(kept)
            add(at_hand, kept if whole else kept[at_hand - ctx.kept_from])
        return to_hidden, to_weight, to_bias, None


def _iter_chunks(tokens: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, _CHUNK_LOGITS // vocabulary)
    for start in range(0, tokens, size):
        yield slice(start, start + size)


@contextmanager
def scoring_head(model: nn.Module, source: Tensor, target: Tensor, *, fused: bool) -> Iterator[None]:
    """While this lasts, the model's output layer sees nothing but the tokens to be scored.

    The layer's own forward is put aside, so that whatever wraps the model (DDP, FSDP2, adapters) sees an ordinary
    forward pass whose `logits` are, `fused`, the log-probabilities of the targets, float32 of shape [1, N, 1], or else
    ordinary logits of the scored tokens, shape [1, N, V].

    Args:
        model: a causal language model; not the wrapper of several processes around it.
        source: places in the flattened [R x L] hidden states, int64 of shape [N].
        target: the token each of them is to predict, int64 of shape [N].
        fused: as found by `choose_forward`; a model that changes its logits after the output layer cannot have it.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    own, replaced = head.forward, head.__dict__.get("forward")

    def forward(hidden: Tensor) -> Tensor:
        hidden = hidden.flatten(0, 1)[source]
        if not fused:
            return own(hidden[None])  # type: ignore[no-any-return]
        # Cloned, since FSDP2 does not like an output that is a view.
        return token_logprobs(hidden, head.weight, head.bias, target)[None, :, None].clone()

    head.forward = forward
    try:
        yield
    finally:
        if replaced is None:
            del head.forward  # what the class defines shows again
        else:
            head.forward = replaced
