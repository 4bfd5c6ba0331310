"""CIPHER: descriptions of the taste behind past edits, inferred by the writer itself, in the prompt."""

import hashlib
from collections.abc import Sequence

from copydesk.data.record import Context, EditRecord
from copydesk.errors import InputError
from copydesk.policies.base import Policy, Sampling
from copydesk.policies.local import BestOfNPolicy
from copydesk.policies.prompted.base import MAX_PROMPT_CHARACTERS, PromptBudget
from copydesk.policies.prompted.prompts import (
    add_guidance,
    clean_description,
    flatten_context,
    render_inference_prompt,
    render_merge_prompt,
    render_taste_guidance,
)
from copydesk.policies.prompted.retrieval import RetrievalMemory

DESCRIPTION_SAMPLING = Sampling(temperature=0.0, max_new_tokens=64)
"""Sampling of descriptions: greedy, as long as a phrase."""


class CipherPolicy:
    """Puts a description of the taste behind the edits of the k nearest contexts before each context (CIPHER-k).

    From each edit the writer infers a description of the taste (arXiv 2404.15269). For a context, the descriptions of
    its k nearest are retrieved; with k above 1 the writer merges different ones into one. An accepted answer confirms
    the description that it was written with. Without one, as in the log of another policy, the taste is inferred from
    the accepted text itself, all of which is as the person wants it. (The paper's learner answers every row itself, so
    this happens only at its start.) A row whose description is empty is not remembered.

    Args:
        name: the policy's name as an arm and in the log.
        writer: the policy that answers and describes. Of a `BestOfNPolicy`, the policy that drafts writes the
            descriptions: a cost model cannot judge them.
        memory: the descriptions; `learn` adds to it.
        k: the number of contexts whose descriptions are merged, at least 1.
        max_characters: the longest prompt that asks for a description, if the writer's model does not run in this
            process.
        description_sampling: sampling of descriptions.

    Raises:
        InputError: k is less than 1.
    """

    def __init__(
        self,
        name: str,
        writer: Policy,
        memory: RetrievalMemory[str],
        k: int = 5,
        *,
        max_characters: int = MAX_PROMPT_CHARACTERS,
        description_sampling: Sampling = DESCRIPTION_SAMPLING,
    ) -> None:
        if k < 1:
            raise InputError(f"{name}: k is {k}; give a number of descriptions of at least 1")
        self.name = name
        self.writer = writer
        self.memory = memory
        self.k = k
        self._describer = writer.policy if isinstance(writer, BestOfNPolicy) else writer
        self._description_sampling = description_sampling
        self._budget = PromptBudget(writer, max_characters)

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context, in two requests to the writer: to merge descriptions, and to answer.

        A description always goes into the prompt: it is a phrase, and never longer than `MAX_DESCRIPTION_CHARACTERS`.
        """
        if not contexts:
            return []
        tastes = self.infer_tastes(contexts)
        prompts = [
            add_guidance(context, render_taste_guidance(taste)) for context, taste in zip(contexts, tastes, strict=True)
        ]
        return self.writer.respond(prompts, seeds, sampling)

    def infer_tastes(self, contexts: Sequence[Context]) -> list[str]:
        """The taste that `respond` puts before each context; empty if none is known.

        If the other descriptions do not fit the prompt that merges them, the nearest one is used alone.
        """
        known = self.memory.find_nearest(contexts, self.k)
        found = [near[0] if near else "" for near in known]
        asked: dict[int, Context] = {}
        for row, near in enumerate(known):
            if len(set(near)) > 1:
                prompt, count = self._budget.build_prompt(
                    near, render_merge_prompt, self._description_sampling.max_new_tokens
                )
                if count > 1:
                    asked[row] = prompt
        # Depends on the context alone, so that `learn` finds the taste that an answer was written with.
        seeds = [_hash_seed("merge", flatten_context(contexts[row])) for row in asked]
        for row, merged in zip(asked, self._describe(list(asked.values()), seeds), strict=True):
            found[row] = merged or found[row]
        return found

    def learn(self, records: Sequence[EditRecord]) -> None:
        """Infer the taste behind rows, in one request to the writer, and remember it under their contexts.

        Rows that this policy answered itself are assumed to have been answered with the memory as it is now; so in an
        online phase, learn each edit before the next answer. Pending rows are ignored.
        """
        known = [record for record in records if not record.pending]
        own = [row for row, record in enumerate(known) if record.accepted and record.policy == self.name]
        confirmed = dict(zip(own, self.infer_tastes([known[row].context for row in own]), strict=True))
        tastes = [confirmed.get(row, "") for row in range(len(known))]
        open_rows = [row for row, taste in enumerate(tastes) if not taste]
        prompts = [self._build_inference_prompt(known[row]) for row in open_rows]
        seeds = [_hash_seed("infer", known[row].id) for row in open_rows]
        for row, taste in zip(open_rows, self._describe(prompts, seeds), strict=True):
            tastes[row] = taste
        described = [row for row, taste in enumerate(tastes) if taste]
        self.memory.add([known[row].context for row in described], [tastes[row] for row in described])

    def _describe(self, prompts: Sequence[Context], seeds: Sequence[Sequence[int]]) -> list[str]:
        if not prompts:
            return []
        return [clean_description(text) for text in self._describer.respond(prompts, seeds, self._description_sampling)]

    def _build_inference_prompt(self, record: EditRecord) -> str:
        """The prompt that asks about a row; texts that are too long are cut to an excerpt from where they differ."""
        texts = [record.response] if record.edit is None or record.accepted else [record.response, record.edit]
        start, length = 0, max(len(text) for text in texts)
        while True:
            prompt = render_inference_prompt(*(text[start : start + length] for text in texts))
            if length <= 1 or self._budget.fits(prompt, self._description_sampling.max_new_tokens):
                return prompt
            start = _common_prefix_length(*texts)
            length //= 2


def _common_prefix_length(one: str, other: str = "") -> int:
    """The length of the common prefix of two texts."""
    return next(
        (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )


def _hash_seed(*words: str) -> tuple[int]:
    """A seed of 31 bits, which every writer accepts."""
    digest = hashlib.sha256("\0".join(words).encode(errors="surrogatepass")).digest()
    return (int.from_bytes(digest[:4]) >> 1,)
