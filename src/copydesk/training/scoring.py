"""Scoring a log with a model, without training it."""

import sys
from collections.abc import Sequence

import torch
from accelerate.utils import reduce
from torch import nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from copydesk.training import distributed
from copydesk.training.encode import Triple
from copydesk.training.logprobs import ForwardPlan, TripleLogProbs, batch_logprobs
from copydesk.training.probe import choose_forward


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
        forward: how to run the model; found out if not given.
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


def compute_longest_length(triples: Sequence[Triple]) -> int:
    """The tokens of the longest context and answer."""
    return max((len(t.context) + max(len(t.response), len(t.edit)) for t in triples), default=0)


def _count_tokens(triple: Triple) -> int:
    return len(triple.context) + len(triple.edit) + len(triple.response)
