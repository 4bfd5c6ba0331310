"""Sampling with noise of one's own, so that two policies can be asked with the same luck."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import LogitsProcessor

_MIN_EXPONENTIAL = 2.0**-24
"""The least exponential that single precision tells from 0.

About once in six million draws NumPy's is exactly 0. It stands for something as small as this: taken as 0 its Gumbel
variable would be infinite, and that token written whatever the model thinks of it.
"""


class GumbelNoise(LogitsProcessor):
    """Adds Gumbel noise to the logits, so that the likeliest token after it is a sample of the softmax before it.

    The Gumbel-max trick (Maddison et al. 2014, arXiv 1411.0030): argmax(logits / T + G) is distributed as
    softmax(logits / T) when G are independent standard Gumbel variables. Each row draws its noise from its own seed, so
    a row's response does not depend on its neighbours, and policies that are asked with one seed share their random
    numbers: where they agree on the distribution they write the same token.
    """

    def __init__(self, seeds: Sequence[Sequence[int]], temperature: float) -> None:
        self._generators = [np.random.Generator(np.random.SFC64(np.random.SeedSequence(list(seed)))) for seed in seeds]
        self._temperature = temperature

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Noisy logits, shape (rows, vocabulary), for a greedy choice."""
        width = scores.shape[-1]
        exponential = np.stack([rng.standard_exponential(width, dtype=np.float32) for rng in self._generators])
        gumbel = -torch.from_numpy(exponential).clamp_min(_MIN_EXPONENTIAL).log_().to(scores.device)
        noisy: torch.FloatTensor = scores.float() / self._temperature + gumbel  # type: ignore[assignment]
        return noisy
