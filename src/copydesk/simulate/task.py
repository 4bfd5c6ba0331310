"""A task: documents of several kinds, the manners of its responses, and the taste that users have for each kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from copydesk.simulate.grammar import Kind, compose, render
from copydesk.simulate.manners import Manner, Manners


@dataclass(frozen=True)
class Document:
    """One context and what the world knows of it. The agent sees only `context`."""

    context: str
    kind: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Task:
    """Seeded synthetic documents and the users' taste, one full set of manners for each kind (as in PRELUDE)."""

    name: str
    instruction: str
    manners: Sequence[Manner]
    kinds: Sequence[Kind]
    tastes: Mapping[str, Manners]

    @cached_property
    def kind(self) -> Mapping[str, Kind]:
        """The kinds by name."""
        return {kind.name: kind for kind in self.kinds}

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
