"""A policy that runs in this process: a Transformers model, with an adapter or without."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from copydesk.learn.encode import encode_context, end_of_turn
from copydesk.log.record import Context
from copydesk.policies.noise import GumbelNoise
from copydesk.policies.policy import Sampling


class LocalPolicy:
    """A model and its tokenizer under a name."""

    def __init__(self, name: str, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self._end = end_of_turn(tokenizer)[-1]

    def respond(
        self,
        contexts: Sequence[Context],
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
    ) -> list[str]:
        """One response for each context, written in batches with a key-value cache.

        `seeds[i]` alone decides the luck of the i-th response. Shows a progress bar on a terminal.
        """
        # Rows of like length share a batch: less padding, and none of them waits long for the others.
        prompts = [encode_context(context, self.tokenizer) for context in contexts]
        order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
        responses = [""] * len(prompts)
        starts = range(0, len(order), sampling.batch_size)
        for start in tqdm(starts, desc=f"{self.name} answers", leave=False, disable=not sys.stderr.isatty()):
            rows = order[start : start + sampling.batch_size]
            written = self._write([prompts[row] for row in rows], [seeds[row] for row in rows], sampling)
            for row, text in zip(rows, written, strict=True):
                responses[row] = text
        return responses

    @torch.inference_mode()
    def _write(self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        length = max(len(prompt) for prompt in prompts)
        padding = self._end  # masked before a prompt, and cut off after a response; some tokenizers have no other
        ids = torch.tensor([[padding] * (length - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        noise = [GumbelNoise(seeds, sampling.temperature)] if sampling.temperature > 0 else []
        # A configuration of our own: what a model's folder says of sampling must not change what π is.
        generation = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            max_new_tokens=sampling.max_new_tokens,
            pad_token_id=padding,
            eos_token_id=self._end,
            use_cache=True,
        )
        device = self.model.device
        model: Any = self.model  # Transformers does not type `generate`
        written = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=generation,
            logits_processor=LogitsProcessorList(noise),
        )
        return [self._text(row) for row in written[:, length:].tolist()]

    def _text(self, ids: list[int]) -> str:
        end = ids.index(self._end) if self._end in ids else len(ids)
        return str(self.tokenizer.decode(ids[:end], skip_special_tokens=True))
