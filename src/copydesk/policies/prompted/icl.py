"""ICL-edit: past edits of the most similar contexts as examples in the prompt."""

import logging
from collections.abc import Sequence

from copydesk.data.record import Context, EditRecord
from copydesk.errors import InputError
from copydesk.policies.base import Policy, Sampling
from copydesk.policies.prompted.base import MAX_PROMPT_CHARACTERS, PromptBudget
from copydesk.policies.prompted.prompts import add_guidance, render_examples_guidance
from copydesk.policies.prompted.retrieval import RetrievalMemory

logger = logging.getLogger(__name__)


class IclPolicy:
    """Puts the k past edits of the most similar contexts before each context (ICL-edit, arXiv 2404.15269).

    An example is a response and its edit, without their context. Examples that do not fit the writer together with the
    response are dropped, the least similar first, possibly all of them, with a warning. An accepted row is an example
    of a response that needs no change.

    Args:
        name: the policy's name as an arm and in the log.
        writer: the policy that answers.
        memory: the past edits; `learn` adds to it.
        k: the number of examples in a prompt, at least 1.
        max_characters: the longest prompt with examples, if the writer's model does not run in this process.

    Raises:
        InputError: k is less than 1.
    """

    def __init__(
        self,
        name: str,
        writer: Policy,
        memory: RetrievalMemory[EditRecord],
        k: int = 3,
        *,
        max_characters: int = MAX_PROMPT_CHARACTERS,
    ) -> None:
        if k < 1:
            raise InputError(f"{name}: k is {k}; give a number of examples of at least 1")
        self.name = name
        self.writer = writer
        self.memory = memory
        self.k = k
        self._budget = PromptBudget(writer, max_characters)

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context, all of them in one request to the writer."""
        if not contexts:
            return []
        prompts, dropped = [], 0
        for context, examples in zip(contexts, self.memory.find_nearest(contexts, self.k), strict=True):
            prompt, count = self._prompt(context, examples, sampling.max_new_tokens)
            prompts.append(prompt)
            dropped += count < len(examples)
        if dropped:
            logger.warning(
                "%s: %d of %d prompts have fewer examples than %d, since more do not fit the writer with a response of "
                "%d tokens",
                self.name,
                dropped,
                len(contexts),
                self.k,
                sampling.max_new_tokens,
            )
        return self.writer.respond(prompts, seeds, sampling)

    def learn(self, records: Sequence[EditRecord]) -> None:
        """Remember edited and accepted rows; pending ones are ignored."""
        known = [record for record in records if not record.pending]
        self.memory.add([record.context for record in known], known)

    def _prompt(self, context: Context, examples: Sequence[EditRecord], new_tokens: int) -> tuple[Context, int]:
        return self._budget.build_prompt(
            examples, lambda kept: add_guidance(context, render_examples_guidance(kept)), new_tokens
        )
