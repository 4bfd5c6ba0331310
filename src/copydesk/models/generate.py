"""Sample responses from a model, each from its own seed, so that two policies can share their random numbers."""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

_MIN_EXPONENTIAL = 2.0**-24
"""The smallest exponential used; about one in six million single-precision draws of NumPy is exactly 0.

A draw of 0 would make the Gumbel variable infinite, and that token would be generated whatever its probability.
"""


class GumbelNoise(LogitsProcessor):
    """Adds Gumbel noise to the logits, so that the token with the largest noisy logit is a sample from the softmax.

    The Gumbel-max trick (Maddison et al. 2014, arXiv 1411.0030): argmax(logits / T + G) is distributed as
    softmax(logits / T) when G are independent standard Gumbel variables. Each row draws its noise from its own seed, so
    a row's response does not depend on its batch, and policies sampled with the same seed share their random numbers:
    where they have the same distribution they generate the same token.
    """

    def __init__(self, seeds: Sequence[Sequence[int]], temperature: float) -> None:
        self._generators = [np.random.Generator(np.random.SFC64(np.random.SeedSequence(list(seed)))) for seed in seeds]
        self._temperature = temperature

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Noisy logits, shape (rows, vocabulary), of which the largest is taken."""
        width = scores.shape[-1]
        exponential = np.stack([rng.standard_exponential(width, dtype=np.float32) for rng in self._generators])
        gumbel = -torch.from_numpy(exponential).clamp_min(_MIN_EXPONENTIAL).log_().to(scores.device)
        noisy: torch.FloatTensor = scores.float() / self._temperature + gumbel  # type: ignore[assignment]
        return noisy


class GeneratedTokens(NamedTuple):
    """A response as token ids without its end-of-turn token, and whether it ended or was cut off."""

    tokens: list[int]
    ended: bool


@torch.inference_mode()
def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[Sequence[int]],
    *,
    end: int,
    temperature: float = 1.0,
    max_new_tokens: int,
    batch_size: int = 128,
    description: str = "generating",
) -> list[GeneratedTokens]:
    """Generate one response to each prompt, in batches with a key-value cache.

    Shows a progress bar on a terminal.

    Args:
        model: a causal language model, in evaluation mode.
        prompts: contexts as token ids.
        seeds: `seeds[i]` alone seeds the i-th response, whatever else is in its batch.
        end: the token that ends a response.
        temperature: divides the logits; 1 samples from the model itself, 0 takes the most probable token.
        max_new_tokens: length at which a response is cut off.
        batch_size: prompts per batch.
        description: label of the progress bar.
    """
    # Rows of similar length share a batch: less padding, and less waiting for the longest.
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    found: list[GeneratedTokens | None] = [None] * len(prompts)
    starts = range(0, len(order), batch_size)
    # Not the configuration in the model's folder: its sampling settings must not change π.
    configuration = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=end,  # masked before a prompt, and cut off after a response; some tokenizers have no other
        eos_token_id=end,
        use_cache=True,
    )
    untyped: Any = model  # Transformers does not type `generate`
    for start in tqdm(starts, desc=description, leave=False, disable=not sys.stderr.isatty()):
        rows = order[start : start + batch_size]
        length = max(len(prompts[row]) for row in rows)
        ids = torch.tensor([[end] * (length - len(prompts[row])) + list(prompts[row]) for row in rows])
        mask = torch.tensor([[0] * (length - len(prompts[row])) + [1] * len(prompts[row]) for row in rows])
        noise = [GumbelNoise([seeds[row] for row in rows], temperature)] if temperature > 0 else []
        written = untyped.generate(
            input_ids=ids.to(untyped.device),
            attention_mask=mask.to(untyped.device),
            generation_config=configuration,
            logits_processor=LogitsProcessorList(noise),
        )
        for row, tokens in zip(rows, written[:, length:].tolist(), strict=True):
            ended = end in tokens
            found[row] = GeneratedTokens(tokens[: tokens.index(end)] if ended else tokens, ended)
    return [one for one in found if one is not None]
