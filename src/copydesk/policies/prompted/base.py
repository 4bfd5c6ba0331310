"""How much a writer can read at once."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from copydesk.data.record import Context
from copydesk.policies.base import Policy
from copydesk.policies.best_of_n import BestOfNPolicy
from copydesk.policies.cached import CachedPolicy
from copydesk.policies.local import LocalPolicy
from copydesk.policies.prompted.prompts import flatten_context

MAX_PROMPT_CHARACTERS = 12_000
"""What a prompt may hold for a writer that runs elsewhere: some 3,000 tokens of English."""

_Item = TypeVar("_Item")


def unwrap_policy(writer: Policy) -> Policy:
    """What writes in the end, beneath a choice of drafts and a cache of answers."""
    while isinstance(writer, BestOfNPolicy | CachedPolicy):
        writer = writer.policy
    return writer


class PromptBudget:
    """Whether a prompt fits a writer.

    For a model in this process, prompt and response must fit its `max_position_embeddings`. What a writer elsewhere
    takes is not known here: its prompts have at most a given number of characters.
    """

    def __init__(self, writer: Policy, max_characters: int = MAX_PROMPT_CHARACTERS) -> None:
        self._policy = unwrap_policy(writer)
        self._max_characters = max_characters

    def fits(self, prompt: Context, new_tokens: int) -> bool:
        """Whether the writer can read this prompt and write a response of so many tokens."""
        if isinstance(self._policy, LocalPolicy):
            positions = getattr(self._policy.model.config.get_text_config(), "max_position_embeddings", None)
            if positions is not None:
                return len(self._policy.encode([prompt])[0]) + new_tokens <= int(positions)
        return len(flatten_context(prompt)) <= self._max_characters

    def build_prompt(
        self, items: Sequence[_Item], prompt: Callable[[Sequence[_Item]], Context], new_tokens: int
    ) -> tuple[Context, int]:
        """The prompt of as many items as fit, dropped whole from the last to the first, and how many those are.

        A prompt of no item at all is taken as it is.
        """
        for count in range(len(items), 0, -1):
            filled = prompt(items[:count])
            if self.fits(filled, new_tokens):
                return filled, count
        return prompt([]), 0
