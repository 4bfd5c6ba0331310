"""A scripted task: seeded synthetic documents, the manners of responses, and tastes as sets of manners."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from copydesk.simulate.seeds import SeedStream, make_generator
from copydesk.simulate.tasks.base import Document
from copydesk.simulate.tasks.grammar import DocumentKind, compose_outline, render_response
from copydesk.simulate.tasks.manners import Style, StyleAttribute


@dataclass(frozen=True)
class ScriptedTask:
    """Synthetic documents without end and the users' taste, one full set of manners for each kind (as in PRELUDE).

    `taste_descriptions` tells each taste in words, for users and policies that read words.
    """

    name: str
    instruction: str
    attributes: Sequence[StyleAttribute]
    kinds: Sequence[DocumentKind]
    tastes: Mapping[str, Style]
    taste_descriptions: Mapping[str, str]

    @cached_property
    def kind_by_name(self) -> Mapping[str, DocumentKind]:
        """The kinds by name."""
        return {kind.name: kind for kind in self.kinds}

    def describe_taste(self, kind: str) -> str:
        """The taste in words."""
        return self.taste_descriptions[kind]

    def draw_offline(self, count: int, seed: int) -> list[Document]:
        """The contexts of a log."""
        return list(islice(self.iter_documents(seed, SeedStream.LOG_DOCUMENTS), count))

    def draw_online(self, count: int, seed: int, exclude: frozenset[str]) -> list[Document]:
        """The contexts of the online phase, none of them in `exclude`."""
        return list(islice(self.iter_documents(seed, SeedStream.ONLINE_DOCUMENTS, exclude), count))

    def iter_documents(
        self, seed: int, stream: SeedStream, exclude: frozenset[str] = frozenset()
    ) -> Iterator[Document]:
        """Documents without end, no context twice and none of those in `exclude`."""
        rng, seen = make_generator(seed, stream), set(exclude)
        while True:
            document = self.draw_document(rng)
            if document.context not in seen:
                seen.add(document.context)
                yield document

    def draw_document(self, rng: np.random.Generator) -> Document:
        """A fresh document of a random kind."""
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        facts = {slot: str(rng.choice(list(values))) for slot, values in kind.slots.items()}
        lines = [str(rng.choice(list(wordings))) for wordings in kind.lines]
        fixed, free = lines[: kind.opening_lines], lines[kind.opening_lines :]
        rng.shuffle(free)
        text = "\n".join(line.format(**facts) for line in fixed + free)
        return Document(f"{self.instruction}\n{text}", kind.name, facts)

    def draw_style(self, rng: np.random.Generator) -> Style:
        """Manners with the shares that the reference policy was shown."""
        return {manner.name: manner.sample(rng) for manner in self.attributes}

    def write_response(self, document: Document, style: Style) -> str:
        """The complete, correct response to a document in these manners."""
        kind = self.kind_by_name[document.kind]
        return render_response(kind, compose_outline(kind, style, document.facts))
