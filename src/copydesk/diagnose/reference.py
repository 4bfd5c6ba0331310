"""Scores a sample of the log, and responses of its own, with the reference model."""

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
"""Most tokens of context and answer, unless the model's context is shorter."""
OWN_RESPONSES = 32
"""Responses that the model generates, to compare the log's responses with."""
_OWN_TOKENS = 200


def score_sample(records: Sequence[EditRecord], model: str, seed: int = 0) -> ReferenceScores:
    """Score edited rows with a model, and responses that it generates for some of their contexts.

    Args:
        records: at least one edited row.
        model: π_ref, as for `load_model`.
        seed: seed of the generated responses.

    Returns:
        Log-probabilities and token counts.

    Raises:
        InputError: the model cannot be loaded.
    """
    base, tokenizer, _ = load_model(model)
    max_tokens = min(
        MAX_SCORED_TOKENS, getattr(base.config.get_text_config(), "max_position_embeddings", None) or MAX_SCORED_TOKENS
    )
    encoded = encode_log(records, tokenizer, max_tokens, truncate_answers=True)
    triples = encoded.triples
    scored = compute_reference_logprobs(base, triples)
    end = find_end_of_turn(tokenizer)
    asked = triples[:: -(-len(triples) // OWN_RESPONSES)]
    longest = max(len(triple.response) for triple in asked)
    own = generate(
        base,
        [triple.context[-max(1, max_tokens - _OWN_TOKENS) :] for triple in asked],
        [[seed, number] for number in range(len(asked))],
        end=end[-1],
        max_new_tokens=max(1, min(_OWN_TOKENS, longest, max_tokens - 1)),
        batch_size=16,
        description="own responses",
    )
    # A truncated response gets no end of turn: the model did not write one, and it would lower the score.
    written = [tuple(one.tokens) + ((end[-1],) if one.ended else ()) for one in own]
    generated = [
        Triple(f"own-{number}", triple.context[-max(1, max_tokens - _OWN_TOKENS) :], tokens, tokens)
        for number, (triple, tokens) in enumerate(zip(asked, written, strict=True))
        if tokens
    ]
    own_logprobs = compute_reference_logprobs(base, generated).response.numpy().astype(np.float64)
    return ReferenceScores(
        edit=scored.edit.numpy().astype(np.float64),
        response=scored.response.numpy().astype(np.float64),
        edit_tokens=np.array([float(len(triple.edit)) for triple in triples]),
        response_tokens=np.array([float(len(triple.response)) for triple in triples]),
        own_per_token=own_logprobs / np.array([float(len(triple.response)) for triple in generated]),
        truncated=max(encoded.cut_contexts, encoded.cut_answers),  # an answer is hardly ever cut without its context
    )
