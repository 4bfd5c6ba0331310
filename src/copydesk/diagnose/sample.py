"""A sample of fixed size of rows that pass by once."""

import random
from typing import Generic, TypeVar

T = TypeVar("T")


class ReservoirSample(Generic[T]):
    """A uniform sample without replacement, in the order of the rows; the memory it takes does not grow.

    Source: algorithm R, Vitter, *Random Sampling with a Reservoir*, ACM TOMS 11 (1985).
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._luck = random.Random(seed)
        self._seen = 0
        self._held: list[tuple[int, T]] = []

    def add(self, item: T) -> None:
        """Offer the next row."""
        self._seen += 1
        if len(self._held) < self._size:
            self._held.append((self._seen, item))
        elif (place := self._luck.randrange(self._seen)) < self._size:
            self._held[place] = (self._seen, item)

    def items(self) -> list[T]:
        """The sample."""
        return [item for _, item in sorted(self._held, key=lambda held: held[0])]
