"""What every task is: contexts of several kinds, and the taste that users have for each kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Document:
    """One context and what the world knows of it. The agent sees only `context`."""

    context: str
    kind: str
    facts: Mapping[str, str] = field(default_factory=dict)


class Task(Protocol):
    """Something to be written, again and again. What people want of it depends on the kind of document (PRELUDE)."""

    @property
    def name(self) -> str:
        """Its name on the command line and in every round."""
        ...

    def describe_taste(self, kind: str) -> str:
        """What users want of responses to this kind of document, in words. No policy is told."""
        ...

    def draw_offline(self, count: int, seed: int) -> list[Document]:
        """The contexts of a log."""
        ...

    def draw_online(self, count: int, seed: int, exclude: frozenset[str]) -> list[Document]:
        """The contexts x_1 .. x_T of the online phase, none of which reads like one of `exclude`."""
        ...
