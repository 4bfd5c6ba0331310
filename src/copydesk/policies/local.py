"""A policy that runs in this process: a Transformers model, with an adapter or without."""

from collections.abc import Sequence

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.data.record import Context
from copydesk.models.generate import GeneratedTokens, generate
from copydesk.policies.base import Sampling
from copydesk.training.encode import encode_context, find_end_of_turn


class LocalPolicy:
    """A model and its tokenizer under a name."""

    def __init__(self, name: str, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.end_of_turn = find_end_of_turn(tokenizer)

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context, written in batches with a key-value cache.

        `seeds[i]` alone decides the luck of the i-th response. Shows a progress bar on a terminal.
        """
        return [self.decode(one) for one in self.generate_tokens(self.encode(contexts), seeds, sampling)]

    def encode(self, contexts: Sequence[Context]) -> list[list[int]]:
        """What the model reads of each context, as token ids."""
        return [encode_context(context, self.tokenizer) for context in contexts]

    def generate_tokens(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[GeneratedTokens]:
        """A response to each prompt, as token ids."""
        return generate(
            self.model,
            prompts,
            seeds,
            end=self.end_of_turn[-1],
            temperature=sampling.temperature,
            max_new_tokens=sampling.max_new_tokens,
            batch_size=sampling.batch_size,
            description=f"{self.name} answers",
        )

    def decode(self, response: GeneratedTokens) -> str:
        """A response as text."""
        return str(self.tokenizer.decode(response.tokens, skip_special_tokens=True))
