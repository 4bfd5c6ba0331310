"""Log-probabilities of a sample of the log under the reference model."""

from collections.abc import Sequence

import numpy as np

from copydesk.data.record import EditRecord
from copydesk.diagnose.quality import ReferenceScores
from copydesk.models.chat import find_end_of_turn
from copydesk.models.generate import generate
from copydesk.models.load import load_model
from copydesk.training.encode import Triple, encode_log
from copydesk.training.fit import compute_reference_logprobs

MAX_SCORED_TOKENS = 2048
"""Tokens of context and answer, where the model can read as many."""


OWN_RESPONSES = 32
"""Responses that the model is asked for, to compare those of the log with."""


_OWN_TOKENS = 200


def score_sample(records: Sequence[EditRecord], model: str, seed: int = 0) -> ReferenceScores:
    """Score edited rows with a model, and responses of its own to some of their contexts.

    Args:
        records: at least one edited row.
        model: π_ref, as `load_model` takes it.
        seed: of the model's own responses.

    Raises:
        InputError: the model cannot be loaded.
    """
    base, tokenizer, _ = load_model(model)
    reads = min(
        MAX_SCORED_TOKENS, getattr(base.config.get_text_config(), "max_position_embeddings", None) or MAX_SCORED_TOKENS
    )
    encoded = encode_log(records, tokenizer, reads, truncate_answers=True)
    triples = encoded.triples
    scored = compute_reference_logprobs(base, triples)
    end = find_end_of_turn(tokenizer)
    asked = triples[:: -(-len(triples) // OWN_RESPONSES)]
    longest = max(len(triple.response) for triple in asked)
    own = generate(
        base,
        [triple.context[-max(1, reads - _OWN_TOKENS) :] for triple in asked],
        [[seed, number] for number in range(len(asked))],
        end=end[-1],
        max_new_tokens=max(1, min(_OWN_TOKENS, longest, reads - 1)),
        batch_size=16,
        description="own responses",
    )
    # One cut off has no end: a token that the model did not write would count against it.
    written = [tuple(one.tokens) + ((end[-1],) if one.ended else ()) for one in own]
    drawn = [
        Triple(f"own-{number}", triple.context[-max(1, reads - _OWN_TOKENS) :], tokens, tokens)
        for number, (triple, tokens) in enumerate(zip(asked, written, strict=True))
        if tokens
    ]
    likely = compute_reference_logprobs(base, drawn).response.numpy().astype(np.float64)
    return ReferenceScores(
        edit=scored.edit.numpy().astype(np.float64),
        response=scored.response.numpy().astype(np.float64),
        edit_tokens=np.array([float(len(triple.edit)) for triple in triples]),
        response_tokens=np.array([float(len(triple.response)) for triple in triples]),
        own_per_token=likely / np.array([float(len(triple.response)) for triple in drawn]),
        truncated=max(encoded.cut_contexts, encoded.cut_answers),  # hardly ever an answer without its context
    )
