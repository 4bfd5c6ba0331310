"""How much a writer can read at once.

What a policy is that learns from each edit at once.

The oracle: a policy that is told what the person wants, as a bound on what one can learn of it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from copydesk.data.record import Context, EditRecord
from copydesk.policies.base import Policy, Sampling
from copydesk.policies.cached import CachedPolicy
from copydesk.policies.local import BestOfNPolicy, LocalPolicy
from copydesk.policies.prompted.prompts import add_guidance, flatten_context, render_taste_guidance

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


class Learner(Policy, Protocol):
    """A policy with a memory of edits. Only `learn` changes it; `respond` leaves the memory as it is."""

    def learn(self, records: Sequence[EditRecord]) -> None:
        """Take in rows, edited or accepted: a whole log before the first round, or one edit after each.

        Pending rows are left out. If it raises, nothing was learnt.
        """
        ...


class OraclePolicy:
    """Tells the writer, before each context, the person's true taste (the oracle of arXiv 2404.15269).

    Args:
        name: its name as an arm and in the log.
        writer: what answers.
        taste: the true taste of a context, as a simulation knows it; `None` where there is none.
    """

    def __init__(self, name: str, writer: Policy, taste: Callable[[Context], str | None]) -> None:
        self.name = name
        self.writer = writer
        self.taste = taste

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context, all of them in one request to the writer."""
        prompts = [add_guidance(context, render_taste_guidance(self.taste(context) or "")) for context in contexts]
        return self.writer.respond(prompts, seeds, sampling)
