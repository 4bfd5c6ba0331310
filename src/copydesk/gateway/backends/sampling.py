"""Read a chat request for a policy in this process, and sample the next token of one sequence."""

import secrets
from collections import Counter
from typing import Any

import torch
from pydantic import ValidationError
from transformers import TopPLogitsWarper

from copydesk.gateway.backends.base import BackendError, Json
from copydesk.gateway.schemas import GenerationRequest
from copydesk.models.generate import GumbelNoise

_GREEDY_TEMPERATURE = 1e-5
"""Below this a temperature is 0: logits divided by less leave the range of float32."""


def parse_generation_request(request: Json) -> GenerationRequest:
    """Read the body of a chat request for a policy in this process.

    Raises:
        BackendError: a field has a wrong type or is out of its range (400, `invalid_value`), or asks for something that
            policies in this process do not support (400, `unsupported_parameter`).
    """
    try:
        return GenerationRequest.model_validate(request)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0])
    code = "unsupported_parameter" if first["type"] == "unsupported_parameter" else "invalid_value"
    message = f"{field}: {first['msg'].removeprefix('Value error, ')}"
    raise BackendError(400, message, retriable_elsewhere=False, code=code, param=field)


class Sampler:
    """Samples one sequence from its own seeded generator.

    The noise is that of `GumbelNoise` with the request's seed alone, so a local policy answers in the gateway what
    `LocalPolicy` answers with the same seed and temperature.
    """

    def __init__(self, parameters: GenerationRequest) -> None:
        self._presence = parameters.presence_penalty
        self._frequency = parameters.frequency_penalty
        self._temperature = parameters.temperature if parameters.temperature >= _GREEDY_TEMPERATURE else 0.0
        self._top_p = TopPLogitsWarper(parameters.top_p) if parameters.top_p < 1 else None
        seed = secrets.randbits(64) if parameters.seed is None else parameters.seed % 2**64
        # The noise comes after top-p, which comes after the temperature.
        self._noise = GumbelNoise([(seed,)], 1.0)
        self._token_counts: Counter[int] = Counter()

    def process_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Scores whose largest is the next token; logits and scores have the shape (1, vocabulary)."""
        scores: Any = logits.float()
        if self._token_counts and (self._presence or self._frequency):
            ids = torch.tensor(list(self._token_counts), device=scores.device)
            counts = torch.tensor(list(self._token_counts.values()), device=scores.device, dtype=scores.dtype)
            scores = scores.index_add(1, ids, -(self._presence + self._frequency * counts)[None])
        if self._temperature > 0:
            nothing: Any = None  # neither looks at the tokens so far
            scores = scores / self._temperature
            if self._top_p is not None:
                scores = self._top_p(nothing, scores)
            scores = self._noise(nothing, scores)
        drawn: torch.Tensor = scores
        return drawn

    def record_token(self, token: int) -> None:
        """Count a sampled token, for the penalties."""
        self._token_counts[token] += 1
