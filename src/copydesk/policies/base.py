"""What every policy is: a name and a way to answer contexts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from copydesk.data.record import Context
from copydesk.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """How a response is drawn.

    temperature: divides the logits; 1 samples from π itself, 0 always takes the likeliest token.
    max_new_tokens: where a response is cut off if the policy has not ended it.
    batch_size: contexts answered side by side; it changes the speed and nothing else (up to rounding).
    """

    temperature: float = 1.0
    max_new_tokens: int = 512
    batch_size: int = 128

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature: {self.temperature} must be at least 0")
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)} must be at least 1")


class Policy(Protocol):
    """Something that answers contexts. A policy is immutable: a retrained one has a new name."""

    @property
    def name(self) -> str:
        """The name it has as an arm and in the log."""
        ...

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context. `seeds[i]` decides the i-th, whoever is asked beside it."""
        ...
