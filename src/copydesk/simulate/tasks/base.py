"""The interface of a task: contexts of several kinds, and the users' taste for each kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Document:
    """One context, its kind and its facts. Policies see only `context`."""

    context: str
    kind: str
    facts: Mapping[str, str] = field(default_factory=dict)


class Task(Protocol):
    """A writing task. What users want depends on the kind of document, as in PRELUDE."""

    @property
    def name(self) -> str:
        """Its name on the command line and in every round."""
        ...

    def list_preferences(self, document: Document) -> tuple[str, ...]:
        """The users' preferences for this document in words, each by itself; policies never see them."""
        ...

    def draw_offline(self, count: int, seed: int) -> list[Document]:
        """The contexts of a log."""
        ...

    def draw_online(self, count: int, seed: int, exclude: frozenset[str]) -> list[Document]:
        """The contexts x_1 .. x_T of the online phase, none of which reads like one of `exclude`."""
        ...
