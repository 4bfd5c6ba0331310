"""PRELUDE's two tasks on its real documents: summaries of news, posts and papers, and emails from notes.

Source: *Aligning LLM Agents by Learning Latent Preference from User Edits*, Gao et al., NeurIPS 2024,
arXiv 2404.15269, https://github.com/gao-g/prelude (kinds, tastes, filters and sampling; the instructions are ours).
"""

import os
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from copydesk.errors import InputError
from copydesk.simulate.tasks import prelude_sources
from copydesk.simulate.tasks.base import Document
from copydesk.simulate.tasks.prelude_sources import PreludeSource


class PreludeKind(NamedTuple):
    """A kind of document, where its documents come from and what users want of responses to them."""

    name: str
    source: PreludeSource
    taste: str


@dataclass(frozen=True)
class PreludeTask:
    """Real documents of several kinds, an equal number of each.

    A seed shuffles every source. The online phase takes documents from the front of the shuffled sources: with T rounds
    and seed s it meets the documents of PRELUDE's own run with `num_train_ex=T` and `seed=s`, in the same order. A
    log takes them from the back, so a log of the same seed has none of these as long as the sources are long enough for
    both; where a log does hold one, the online phase passes over it.

    A log may be longer than a source: a quarter of the paper's 10,000 emails are on peer reviews, and AMPERE has 400
    reviews. A log that needs more than the back three quarters of a source repeats these, and leaves the front quarter
    to the online phase.

    Attributes:
        name: the task's name.
        instruction: the first line of a context, before the text of the document.
        kinds: the kinds in PRELUDE's order, which the sampling depends on.
        folder: the folder of the sources' files; by default the one that the environment variable COPYDESK_PRELUDE
            names, and otherwise the hub. See `prelude_sources.load_texts`.
    """

    name: str
    instruction: str
    kinds: tuple[PreludeKind, ...]
    folder: Path | None = None

    @cached_property
    def tastes(self) -> dict[str, str]:
        """The tastes by kind."""
        return {kind.name: kind.taste for kind in self.kinds}

    def list_preferences(self, document: Document) -> tuple[str, ...]:
        """The preferences in PRELUDE's words: the parts of the kind's taste between its commas."""
        return tuple(self.tastes[document.kind].split(", "))

    def draw_offline(self, count: int, seed: int) -> list[Document]:
        """The contexts of a log; documents without text are passed over.

        Where `count` is not a multiple of the number of kinds, the first kinds give one more.

        Raises:
            InputError: a source has no document with text, or cannot be read.
        """
        return self._sample(count, seed, frozenset({self._to_context("")}), from_back=True)

    def draw_online(self, count: int, seed: int, exclude: frozenset[str]) -> list[Document]:
        """The contexts x_1 .. x_T of the online phase; those in `exclude` are passed over.

        Raises:
            InputError: a source has too few documents, or cannot be read.
        """
        return self._sample(count, seed, exclude, from_back=False)

    def _sample(self, count: int, seed: int, exclude: frozenset[str], *, from_back: bool) -> list[Document]:
        """An equal number of documents of each kind, shuffled.

        One generator makes all draws, in PRELUDE's order: it shuffles the sources one after the other, each as a list
        (of positions, which move as the documents would), and then what was taken of them.
        """
        rng = np.random.default_rng(seed)
        corpora = [prelude_sources.load_texts(kind.source, self._data_folder()) for kind in self.kinds]
        orders = [list(range(len(texts))) for texts in corpora]
        for order in orders:
            rng.shuffle(order)
        chosen: list[Document] = []
        for place, (kind, texts, order) in enumerate(zip(self.kinds, corpora, orders, strict=True)):
            share = count // len(self.kinds) + (place < count % len(self.kinds))
            part = order[len(order) // 4 :][::-1] if from_back else order
            contexts = (self._to_context(texts[position]) for position in part)
            taken = list(islice((context for context in contexts if context not in exclude), share))
            if from_back and taken:
                taken = list(islice(cycle(taken), share))
            if len(taken) < share:
                raise InputError(
                    f"{self.name}: {share} documents of {kind.source.name} are needed, and {len(taken)} of its "
                    f"{len(texts)} can be used; ask for fewer"
                )
            chosen += [Document(context, kind.name) for context in taken]
        rng.shuffle(chosen)
        return chosen

    def _to_context(self, text: str) -> str:
        return f"{self.instruction}\n{text.strip()}"

    def _data_folder(self) -> Path | None:
        """Read on first use: the tasks are made at import, before `COPYDESK_PRELUDE` may be set."""
        named = os.environ.get(prelude_sources.DATA_FOLDER_VARIABLE, "").strip()
        folder = self.folder or (Path(named) if named else None)
        return folder.expanduser() if folder else None


PRELUDE_SUMMARIZATION = PreludeTask(
    name="prelude-summarization",
    instruction="Summarize this document.",
    kinds=(
        PreludeKind(
            "news",
            prelude_sources.CNN_DAILYMAIL,
            "style targeted to young children, storytelling, short sentences, playful language, interactive, positive",
        ),
        PreludeKind(
            "post",
            prelude_sources.SLF5K,
            "second person narrative, brief, show emotions, invoke personal reflection, immersive",
        ),
        PreludeKind("wiki", prelude_sources.WIKIPEDIA, "bullet points, parallel structure, brief"),
        PreludeKind(
            "abstract",
            prelude_sources.ARXIV,
            "tweet style, simple English, inquisitive, skillful foreshadowing, with emojis",
        ),
        PreludeKind("movie", prelude_sources.IMDB, "question answering style"),
    ),
)
PRELUDE_EMAIL = PreludeTask(
    name="prelude-email",
    instruction="Write a short email from these notes.",
    kinds=(
        PreludeKind("problem", prelude_sources.SLF5K, "informal, conversational, no closing"),
        PreludeKind(
            "paper",
            prelude_sources.ELSEVIER,
            "structured, straight to the points, respectful, professional greeting and closing",
        ),
        PreludeKind("review", prelude_sources.AMPERE, "casual tone, positive, clear, call to action"),
        PreludeKind(
            "tweet", prelude_sources.PAPER_TWEET, "engaging, personalized, professional tone, thankful closing"
        ),
    ),
)
