"""What prompted policies share: the interface `Learner`, the limit of a prompt's length, and the oracle."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from copydesk.data.record import Context, EditRecord
from copydesk.policies.base import Policy, Sampling
from copydesk.policies.cached import CachedPolicy
from copydesk.policies.local import BestOfNPolicy, LocalPolicy
from copydesk.policies.prompted.prompts import add_guidance, flatten_context, render_taste_guidance

MAX_PROMPT_CHARACTERS = 12_000
"""The limit of a prompt for a writer at a server: some 3,000 tokens of English."""

_Item = TypeVar("_Item")


def unwrap_policy(writer: Policy) -> Policy:
    """The policy that writes, beneath best-of-n and caches."""
    while isinstance(writer, BestOfNPolicy | CachedPolicy):
        writer = writer.policy
    return writer


class PromptBudget:
    """Whether a prompt fits a writer.

    For a model in this process, prompt and response must fit its `max_position_embeddings`. The limit of a model at a
    server is unknown: its prompts have at most a given number of characters.
    """

    def __init__(self, writer: Policy, max_characters: int = MAX_PROMPT_CHARACTERS) -> None:
        self._policy = unwrap_policy(writer)
        self._max_characters = max_characters

    def fits(self, prompt: Context, new_tokens: int) -> bool:
        """Whether the writer can read this prompt and write a response of `new_tokens` tokens."""
        if isinstance(self._policy, LocalPolicy):
            positions = getattr(self._policy.model.config.get_text_config(), "max_position_embeddings", None)
            if positions is not None:
                return len(self._policy.encode([prompt])[0]) + new_tokens <= int(positions)
        return len(flatten_context(prompt)) <= self._max_characters

    def build_prompt(
        self, items: Sequence[_Item], prompt: Callable[[Sequence[_Item]], Context], new_tokens: int
    ) -> tuple[Context, int]:
        """The prompt with as many of the first items as fit, and their number.

        A prompt without items is not checked.
        """
        for count in range(len(items), 0, -1):
            filled = prompt(items[:count])
            if self.fits(filled, new_tokens):
                return filled, count
        return prompt([]), 0


class Learner(Policy, Protocol):
    """A policy with a memory of edits. Only `learn` changes it; `respond` leaves the memory as it is."""

    def learn(self, records: Sequence[EditRecord]) -> None:
        """Learn from rows, edited or accepted: a whole log before the first round, or one edit after each round.

        Pending rows are ignored. If it raises, nothing was learned.
        """
        ...


class OraclePolicy:
    """Puts the person's true taste before each context (the oracle of arXiv 2404.15269), as an upper bound.

    Args:
        name: the policy's name as an arm and in the log.
        writer: the policy that answers.
        taste: the true taste for a context, which a simulation knows; `None` if there is none.
    """

    def __init__(self, name: str, writer: Policy, taste: Callable[[Context], str | None]) -> None:
        self.name = name
        self.writer = writer
        self.taste = taste

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context, all of them in one request to the writer."""
        prompts = [add_guidance(context, render_taste_guidance(self.taste(context) or "")) for context in contexts]
        return self.writer.respond(prompts, seeds, sampling)
