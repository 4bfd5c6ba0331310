"""Durations of the steps of a run."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class StepTimer:
    """Says what is being done, and keeps how long each step took."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._started = now()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str, words: str) -> Iterator[None]:
        """Time a step; `words` tell a person what it is."""
        logger.info("%s ...", words)
        started = self._now()
        yield
        self._seconds[step] = round(self._now() - started, 2)

    def compute_durations(self) -> dict[str, float]:
        """The seconds of every step, and `compute_durations`."""
        return self._seconds | {"total": round(self._now() - self._started, 2)}
