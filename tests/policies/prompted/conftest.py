"""A writer that says what it was asked and an encoder whose similarities can be worked out by hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from copydesk.data.record import Context
from copydesk.policies import Sampling


@dataclass
class ScriptedWriter:
    """Answers each prompt by a function of it and of its seed; keeps every request."""

    answer: Callable[[Context, Sequence[int]], str] = lambda prompt, seed: f"answer {tuple(seed)}"
    name: str = "writer"
    requests: list[tuple[list[Context], list[Sequence[int]], Sampling]] = field(default_factory=list)

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        self.requests.append((list(contexts), list(seeds), sampling))
        return [self.answer(context, seed) for context, seed in zip(contexts, seeds, strict=True)]


class CountsWords:
    """How often each of a few words occurs, at norm 1; keeps the texts it was given."""

    words = ("news", "film", "paper", "short", "long")

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        counts = np.array([[text.split().count(word) for word in self.words] for text in texts], dtype=np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.fixture
def writer() -> ScriptedWriter:
    return ScriptedWriter()


@pytest.fixture
def encoder() -> CountsWords:
    return CountsWords()
