from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from copydesk.data.record import Message
from copydesk.policies.prompted import RetrievalMemory


@pytest.fixture
def memory(encoder: Any) -> RetrievalMemory[str]:
    return RetrievalMemory(encoder)


def test_the_most_similar_contexts_are_found_the_nearest_first(memory: RetrievalMemory[str]) -> None:
    memory.add(["news news long", "film film film", "news news news", "paper"], ["mixed", "film", "news", "paper"])
    # By hand: cosines to "news" are 2/√5, 0, 1, 0; to "film film long" 1/5, 2/√5, 0, 0.
    assert memory.find_nearest(["news"], 2) == [["news", "mixed"]]
    assert memory.find_nearest(["film film long", "news"], 2) == [["film", "mixed"], ["news", "mixed"]]


def test_similarity_is_of_directions_and_not_of_lengths(memory: RetrievalMemory[str]) -> None:
    memory.add(["news long " * 50, "news"], ["long", "short"])
    assert memory.find_nearest(["news news news short"], 1) == [["short"]]


def test_of_equally_similar_contexts_the_latest_comes_first(memory: RetrievalMemory[str]) -> None:
    memory.add(["news", "film"], ["first", "film"])
    memory.add(["news"], ["second"])
    memory.add(["news"], ["third"])
    assert memory.find_nearest(["news"], 3) == [["third", "second", "first"]]


def test_similarities_that_differ_by_rounding_are_ties() -> None:
    class Trembles:
        """The same embedding every time, but for the last bits."""

        def __init__(self) -> None:
            self.rows = iter([0.0, -3e-7, 0.0])

        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([[0.6 + next(self.rows), 0.8] for _ in texts], dtype=np.float32)

    memory: RetrievalMemory[str] = RetrievalMemory(Trembles())
    memory.add(["news"], ["first"])
    memory.add(["news"], ["second"])
    assert memory.find_nearest(["news"], 2) == [["second", "first"]]


def test_there_may_be_fewer_than_k_or_none_at_all(memory: RetrievalMemory[str]) -> None:
    assert memory.find_nearest(["news", "film"], 3) == [[], []]
    memory.add([], [])
    assert len(memory) == 0
    memory.add(["news", "film"], ["one", "two"])
    assert memory.find_nearest(["film"], 3) == [["two", "one"]]
    assert memory.find_nearest([], 3) == [] and len(memory) == 2


def test_a_chat_is_looked_up_by_what_its_messages_say(memory: RetrievalMemory[str]) -> None:
    memory.add(["film", "news"], ["film", "news"])
    chat = [Message(role="system", content="short"), Message(role="user", content="film film")]
    assert memory.find_nearest([chat], 1) == [["film"]]


def test_every_context_has_its_item(memory: RetrievalMemory[str]) -> None:
    with pytest.raises(ValueError, match="shorter"):
        memory.add(["news", "film"], ["one"])
    assert len(memory) == 0
