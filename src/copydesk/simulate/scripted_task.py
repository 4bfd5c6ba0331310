"""A scripted task: seeded synthetic documents, the manners of responses, and tastes as sets of manners."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from copydesk.simulate.grammar import Kind, compose, render
from copydesk.simulate.luck import Stream, generator
from copydesk.simulate.manners import Manner, Manners
from copydesk.simulate.task import Document


@dataclass(frozen=True)
class ScriptedTask:
    """Synthetic documents without end and the users' taste, one full set of manners for each kind (as in PRELUDE).

    `wishes` tells each taste in words, for users and policies that read words.
    """

    name: str
    instruction: str
    manners: Sequence[Manner]
    kinds: Sequence[Kind]
    tastes: Mapping[str, Manners]
    wishes: Mapping[str, str]

    @cached_property
    def kind(self) -> Mapping[str, Kind]:
        """The kinds by name."""
        return {kind.name: kind for kind in self.kinds}

    def taste(self, kind: str) -> str:
        """The taste in words."""
        return self.wishes[kind]

    def offline(self, count: int, seed: int) -> list[Document]:
        """The contexts of a log."""
        return list(islice(self.documents(seed, Stream.LOG_DOCUMENTS), count))

    def online(self, count: int, seed: int, unlike: frozenset[str]) -> list[Document]:
        """The contexts of the online phase, none of them in `unlike`."""
        return list(islice(self.documents(seed, Stream.ONLINE_DOCUMENTS, unlike), count))

    def documents(self, seed: int, stream: Stream, unlike: frozenset[str] = frozenset()) -> Iterator[Document]:
        """Documents without end, no context twice and none of those in `unlike`."""
        rng, seen = generator(seed, stream), set(unlike)
        while True:
            document = self.draw(rng)
            if document.context not in seen:
                seen.add(document.context)
                yield document

    def draw(self, rng: np.random.Generator) -> Document:
        """A fresh document of a random kind."""
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        facts = {slot: str(rng.choice(list(values))) for slot, values in kind.slots.items()}
        lines = [str(rng.choice(list(wordings))) for wordings in kind.lines]
        fixed, free = lines[: kind.opening_lines], lines[kind.opening_lines :]
        rng.shuffle(free)
        text = "\n".join(line.format(**facts) for line in fixed + free)
        return Document(f"{self.instruction}\n{text}", kind.name, facts)

    def draw_manners(self, rng: np.random.Generator) -> Manners:
        """Manners with the shares that the reference policy was shown."""
        return {manner.name: manner.draw(rng) for manner in self.manners}

    def answer(self, document: Document, manners: Manners) -> str:
        """The complete, correct response to a document in these manners."""
        kind = self.kind[document.kind]
        return render(kind, compose(kind, manners, document.facts))
