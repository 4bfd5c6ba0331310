"""Log-probabilities log π(y|x) of answers, summed over their tokens, computed without holding all logits.

A language model's largest tensor is its logits, tokens x vocabulary. Only the tokens of answers are scored, a chunk at
a time, so memory grows with neither. `choose_forward` tests on the model itself which way of running it on triples is
both fast and exact; `score_triples` scores a log without training.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from accelerate.utils import extract_model_from_parallel, reduce
from torch import Tensor, nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from copydesk.training import distributed
from copydesk.training.encode import Triple
from copydesk.training.packing import EDIT, RESPONSE, RUN_BY_RUN, Layout, build_block_mask, build_dense_mask, lay_out

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
        float32 of shape [N]. In the backward pass tokens whose gradient is zero cost nothing, such as, in DPO, the
        tokens that y and y' have in common, whose terms cancel in the margin.
    """
    result: Tensor = _TokenLogProbs.apply(hidden, weight, bias, target)  # type: ignore[no-untyped-call]
    return result


class _TokenLogProbs(torch.autograd.Function):
    """With p = softmax(logits), the gradient of a token's log-probability is (onehot(target) - p) on its logits.

    If the weights are trained, the backward pass recomputes the logits, which saves memory at the cost of time; only
    the last chunk is kept, as the backward pass needs room for one anyway. If the weights are frozen (an adapter is
    trained), the gradient of a hidden state is known in the forward pass, up to a factor from the backward pass, and
    nothing is computed twice.
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
            run (see `copydesk.training.packing`). The model must be set to it, see `use_attention`.
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
    per_token = _compute_batch_token_logprobs(model, batch, forward)
    sums = [
        per_token.new_zeros(count).index_add(0, batch["owner"], per_token * (batch["part"] != other))
        for other in (RESPONSE, EDIT)
    ]
    return TripleLogProbs(*sums)


def _compute_batch_token_logprobs(model: nn.Module, batch: dict[str, Tensor], forward: ForwardPlan) -> Tensor:
    """The log-probability of every scored token, float32 of shape [N], in the order of `batch["target"]`."""
    inputs = forward.build_model_inputs(batch)
    unwrapped: nn.Module = extract_model_from_parallel(model)
    with scoring_head(unwrapped, batch["source"], batch["target"], fused=forward.fused):
        logits: Tensor = model(**inputs).logits[0]
    return logits[:, 0] if forward.fused else -F.cross_entropy(logits.float(), batch["target"], reduction="none")


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


@torch.no_grad()
def score_triples(
    model: nn.Module,
    triples: Sequence[Triple],
    *,
    batch_size: int = 8,
    forward: ForwardPlan | None = None,
    distribute: bool = False,
    description: str = "scoring",
) -> TripleLogProbs:
    """log π(y'|x) and log π(y|x) of every triple, without gradient and without dropout.

    Run on the reference policy it gives the reference log-probabilities, which every method's training on the same
    triples can share. Shows a progress bar on a terminal.

    Args:
        model: a causal language model.
        triples: n of them.
        batch_size: triples in one forward pass.
        forward: how to run the model; by default `choose_forward` decides.
        distribute: let every process, where there are several, score a part; each holds all triples and the whole
            model.
        description: what the progress bar says.

    Returns:
        float32 on the CPU, in the order of the triples.
    """
    forward = forward or choose_forward(model, compute_longest_length(triples))
    # Neighbours of like length pack well; the longest first, so that too little memory shows at once.
    order = sorted(range(len(triples)), key=lambda place: -_count_tokens(triples[place]))
    scores = torch.zeros(2, len(triples))
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    starts = range(0, len(order), batch_size)
    distribute = distribute and distributed.get_world_size() > 1
    if distribute:
        starts = starts[distributed.get_rank() :: distributed.get_world_size()]
    quiet = not (sys.stderr.isatty() and distributed.is_main_process())
    with forward.use_attention(model):
        for start in tqdm(starts, desc=description, leave=False, disable=quiet):
            places = order[start : start + batch_size]
            batch = forward.lay_out([triples[place] for place in places], with_response=True)
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            scores[:, places] = torch.stack(batch_logprobs(model, batch, len(places), forward)).cpu()
    model.train(was_training)
    if distribute:
        scores = reduce(scores.to(device), reduction="sum").cpu()
    return TripleLogProbs(*scores)


@torch.no_grad()
def compute_token_logprobs(
    model: nn.Module, triples: Sequence[Triple], *, batch_size: int = 8, forward: ForwardPlan | None = None
) -> list[Tensor]:
    """log π of every token of every y', without gradient and without dropout.

    Args:
        model: a causal language model.
        triples: n of them.
        batch_size: triples in one forward pass.
        forward: how to run the model; by default `choose_forward` decides.

    Returns:
        For each triple float32 of shape [tokens of y'] on the CPU, in nats; its sum is log π(y'|x).
    """
    forward = forward or choose_forward(model, compute_longest_length(triples))
    order = sorted(range(len(triples)), key=lambda place: -_count_tokens(triples[place]))
    found = [torch.empty(0)] * len(triples)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with forward.use_attention(model):
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            batch = forward.lay_out([triples[place] for place in places], with_response=False)
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            per_token = _compute_batch_token_logprobs(model, batch, forward)
            for owner, place in enumerate(places):
                found[place] = per_token[batch["owner"] == owner].cpu()
    model.train(was_training)
    return found


def compute_longest_length(triples: Sequence[Triple]) -> int:
    """The tokens of the longest context and answer."""
    return max((len(t.context) + max(len(t.response), len(t.edit)) for t in triples), default=0)


def _count_tokens(triple: Triple) -> int:
    return len(triple.context) + len(triple.edit) + len(triple.response)
