"""A scripted task: seeded synthetic documents, style attributes, tastes, and the score of a response.

Two texts with the same facts differ in their style attributes; a taste is one value for each of them. The word lists
of one document's slots are disjoint, so that a word identifies its fact, and every word is written after a space in
context and response alike, so that it is the same tokens in both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from copydesk.simulate.seeds import SeedStream, make_generator
from copydesk.simulate.tasks.base import Document
from copydesk.simulate.tasks.grammar import DocumentKind, compose_outline, parse_response, render_response

Style = Mapping[str, str]
"""One value for each style attribute, such as {"greeting": "hi"}. A taste is the style a user wants."""


@dataclass(frozen=True)
class StyleAttribute:
    """One way in which responses vary, and how often the reference policy was shown each value.

    The frequencies are the *coverage* of the reference policy: a value with a large share is near (it writes so by
    itself), one with a share of a few percent is far, and a conjunction of several far values is almost never written.
    """

    name: str
    shares: Mapping[str, float]
    phrases: Mapping[str, str]
    """Each value as a preference in words."""

    @property
    def values(self) -> tuple[str, ...]:
        """Every value, the default one first."""
        return tuple(self.shares)

    def sample(self, rng: np.random.Generator) -> str:
        """A value drawn with the reference policy's shares."""
        return self.values[int(rng.choice(len(self.shares), p=np.array(list(self.shares.values()))))]


@dataclass(frozen=True)
class Facet:
    """One detail of a kind of document that taste depends on, beside the kind.

    Attributes:
        slot: the detail.
        other: the kind whose first and last style attribute are wanted of half of the documents.
    """

    slot: str
    other: str

    def applies_to(self, document: Document, kind: DocumentKind) -> bool:
        """Whether a document is in that half: the slot holds the second, fourth, ... of its values."""
        return document.facts[self.slot] in list(kind.slots[self.slot])[1::2]


@dataclass(frozen=True)
class ScriptedTask:
    """Endless synthetic documents and the users' taste, one style for each kind of document (as in PRELUDE).

    Attributes:
        name: the name on the command line.
        instruction: the first line of every context.
        attributes: the ways in which responses vary.
        kinds: the kinds of documents.
        tastes: the style wanted of each kind.
        facets: the detail of each kind that changes what is wanted.
        paraphrases: phrases of the responses, and how a user with words of their own puts them.
        unseen_values: the share of each slot's values that no log has and that occur online only, so that a policy
            has to copy facts it was not trained on. Facets' slots are seen whole: which half of their values a new one
            belongs to, nothing could tell.
    """

    name: str
    instruction: str
    attributes: Sequence[StyleAttribute]
    kinds: Sequence[DocumentKind]
    tastes: Mapping[str, Style]
    facets: Mapping[str, Facet]
    paraphrases: Mapping[str, str]
    unseen_values: float = 0.25

    @cached_property
    def kind_by_name(self) -> Mapping[str, DocumentKind]:
        """The kinds by name."""
        return {kind.name: kind for kind in self.kinds}

    def get_taste(self, document: Document, *, offset: int = 0, facets: bool = True) -> Style:
        """The style that users want of a document.

        Args:
            document: the document.
            offset: for users with another taste: theirs for a kind is the usual one for the kind so many places on.
            facets: whether it depends on a detail of the document too. Of half of the documents the first and the last
                style attribute of another kind's taste are wanted then.
        """
        kinds = list(self.tastes)
        kind = kinds[(kinds.index(document.kind) + offset) % len(kinds)]
        taste = self.tastes[kind]
        if not (facets and self.facets[document.kind].applies_to(document, self.kind_by_name[document.kind])):
            return taste
        ends = (self.attributes[0].name, self.attributes[-1].name)
        return {**taste, **{name: self.tastes[self.facets[kind].other][name] for name in ends}}

    def list_preferences(self, document: Document) -> tuple[str, ...]:
        """The taste in words, a preference for each style attribute."""
        taste = self.get_taste(document)
        return tuple(one.phrases[taste[one.name]] for one in self.attributes)

    def paraphrase(self, kind: DocumentKind, part: str, value: str) -> str:
        """The template of a part in one of its variants, as a user with words of their own writes it."""
        template = kind.part_by_name[part].variants[value]
        for phrase, own in self.paraphrases.items():
            template = template.replace(phrase, own)
        return template

    def draw_offline(self, count: int, seed: int) -> list[Document]:
        """The contexts of a log."""
        return list(
            islice(self.iter_documents(seed, SeedStream.LOG_DOCUMENTS, unseen_values=self.unseen_values), count)
        )

    def draw_online(self, count: int, seed: int, exclude: frozenset[str]) -> list[Document]:
        """The contexts of the online phase, none of them in `exclude`."""
        return list(islice(self.iter_documents(seed, SeedStream.ONLINE_DOCUMENTS, exclude), count))

    def iter_documents(
        self, seed: int, stream: SeedStream, exclude: frozenset[str] = frozenset(), unseen_values: float = 0.0
    ) -> Iterator[Document]:
        """Endless documents, no context twice, none of those in `exclude`, and without a share of the values."""
        rng, seen = make_generator(seed, stream), set(exclude)
        while True:
            document = self.draw_document(rng, unseen_values)
            if document.context not in seen:
                seen.add(document.context)
                yield document

    def draw_document(self, rng: np.random.Generator, unseen_values: float = 0.0) -> Document:
        """A fresh document of a random kind; `unseen_values` leaves out that share of each slot's values."""
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        facts = {}
        for slot, values in kind.slots.items():
            unseen = 0 if slot == self.facets[kind.name].slot else int(len(values) * unseen_values)
            facts[slot] = str(rng.choice(list(values[: len(values) - unseen])))
        lines = [str(rng.choice(list(wordings))) for wordings in kind.lines]
        fixed, free = lines[: kind.opening_lines], lines[kind.opening_lines :]
        rng.shuffle(free)
        text = "\n".join(line.format(**facts) for line in fixed + free)
        return Document(f"{self.instruction}\n{text}", kind.name, facts)

    def draw_style(self, rng: np.random.Generator) -> Style:
        """A style, drawn with the shares that the reference policy was shown."""
        return {one.name: one.sample(rng) for one in self.attributes}

    def write_response(self, document: Document, style: Style) -> str:
        """The complete, correct response to a document in this style."""
        kind = self.kind_by_name[document.kind]
        return render_response(kind, compose_outline(kind, style, document.facts))


def ideal_response(task: ScriptedTask, document: Document, taste: Style | None = None) -> str:
    """The response wholly to a taste with every fact correct; the taste is the task's own unless another is given."""
    return task.write_response(document, task.get_taste(document) if taste is None else taste)


@dataclass(frozen=True)
class ResponseScore:
    """The quality of a response, beside its cost.

    Attributes:
        malformed: some of it is outside the grammar or out of order, or a fact is missing.
        facts: of the facts it should state, the share that it states correctly.
        to_taste: whether it is wholly to the user's taste.
        correct_slots: for each slot it should state, whether it is correct.
    """

    malformed: bool
    facts: float
    to_taste: bool
    correct_slots: Mapping[str, bool]


def score_response(task: ScriptedTask, document: Document, response: str, taste: Style | None = None) -> ResponseScore:
    """Score a response by the document and a taste, which is the task's own unless another is given."""
    kind = task.kind_by_name[document.kind]
    draft = parse_response(kind, response)
    missing = [part.name for part in kind.fact_parts if part.name not in draft.order and part.name != "detail"]
    states = [slot for part in kind.parts if part.name in draft.order or part.name in missing for slot in part.slots]
    right = {slot: draft.facts.get(slot) == document.facts[slot] for slot in states}
    malformed = bool(draft.noise or missing) or list(draft.parts) != [
        part.name for part in kind.parts if part.name in draft.order
    ]
    return ResponseScore(
        malformed=malformed,
        facts=sum(right.values()) / len(right) if right else 0.0,
        to_taste=draft == compose_outline(kind, task.get_taste(document) if taste is None else taste, document.facts),
        correct_slots=right,
    )


def _split_words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


RECIPIENTS = _split_words(
    "Alice Bruno Clara David Elena Felix Grace Hugo Irene Jonas Karin Louis Maria Nadia Oscar Paula"
)
SENDERS = _split_words(
    "Quinn Robert Sofia Tomas Ulrich Vera Walter Xenia Yusuf Zoe Bella Conrad Diana Edgar Fiona Gustav"
)
DAYS = _split_words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _split_words("January February March April May June July August September October November December")
CITIES = _split_words(
    "Oslo Lisbon Vienna Prague Dublin Madrid Warsaw Athens Helsinki Geneva Munich Naples Porto Riga Lyon Turin"
)
TOPICS = _split_words(
    "traffic weather protein speech crop ocean market language galaxy energy vision cancer robot music soil water"
)
RESEARCH_METHODS = _split_words(
    "graph kernel neural spectral hybrid sparse tree wavelet fuzzy linear random pruned modular causal quantum tiny"
)
NUMBERS = _split_words("12 14 15 18 20 24 25 30 35 36 40 45 48 50 60 75")
ITEMS = _split_words(
    "boiler laptop fridge heater washer printer oven phone lamp piano door window sofa bicycle fan clock"
)
ROOMS = _split_words("kitchen attic office garage hallway bathroom cellar garden bedroom studio pantry porch")
NEEDS = _split_words("advice tools money company patience time parts ideas comfort practice sleep luck")
REVIEW_STRENGTHS = _split_words(
    "clarity novelty theory writing scope design rigor figures setup motivation analysis proof"
)
REVIEW_WEAKNESSES = _split_words(
    "baseline length notation sample citation coverage abstract layout appendix argument table discussion"
)
REVIEW_SCORES = _split_words("two three four five six seven eight nine")
EVENTS = _split_words(
    "workshop festival seminar meetup congress forum symposium summit colloquium fair showcase retreat"
)
DISASTERS = _split_words(
    "flood fire storm blizzard quake landslide tornado blackout heatwave drought tsunami hurricane"
)
MAYORS = _split_words(
    "Berg Costa Duval Ferrari Gruber Hansen Ivanov Keller Lopez Moreau Novak Olsen Petrov Ricci Silva Weber"
)
SHELTERS = _split_words("schools churches stadiums hotels libraries barns tents museums theaters gyms")
RELATIVES = _split_words(
    "sister cousin brother neighbor roommate boss grandson friend colleague teacher nephew grandmother"
)
BELONGINGS = _split_words("guitar camera car tent drill jacket drone violin tablet ladder kayak suitcase")
FEELINGS = _split_words("angry sad worried hurt jealous tired guilty lonely calm ashamed bitter hopeful")
REPLIES = _split_words("nothing maybe sorry later never soon always sure")
TOWNS = _split_words(
    "Alden Brackley Corvale Dunmore Elmstead Farwick Glenrock Harwell Ivydale Kelso Lindale Marlow Norden Oakham"
)
COUNTRIES = _split_words(
    "Norway Portugal Austria Ireland Spain Poland Greece Finland Sweden Italy Latvia France Chile Peru"
)
YEARS = _split_words("1804 1812 1823 1837 1846 1851 1868 1879 1885 1892 1901 1913")
PRODUCTS = _split_words("cheese honey pottery wool glass bread candles lace salt wine paper boats")
RIVERS = _split_words("Arno Brenta Dee Ebro Havel Isar Loire Minho Neva Oder Po Rhone")
GENRES = _split_words("comedy thriller western musical drama mystery romance fantasy biopic documentary")
ACTORS = _split_words("Ashford Bellamy Carver Dalton Everett Farrow Garland Holloway Jennings Kingsley Langley Merrick")
MOVIE_MERITS = _split_words("ending script camera dialogue score casting humor chemistry mood finale")
MOVIE_FLAWS = _split_words("pacing subplot villain sound costume accent opening narrator lighting runtime")
