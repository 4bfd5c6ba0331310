"""Random seeds of a run: one independent stream for each purpose and round.

A round's document, the policies' noise and the user's random choices depend on the run's seed and the round alone. So
every method meets the same documents, writes with the same noise and is edited by the same user (common random
numbers), and a difference between two methods is a difference between policies.
"""

from enum import IntEnum

import numpy as np


class SeedStream(IntEnum):
    """What random numbers are for."""

    LOG_DOCUMENTS = 1
    LOG_RESPONSES = 2
    LOG_EDITS = 3
    ONLINE_DOCUMENTS = 4
    ONLINE_RESPONSES = 5
    ONLINE_EDITS = 6


def make_seed_key(seed: int, stream: SeedStream, t: int = 0) -> tuple[int, int, int]:
    """The seed of one stream in one round, whose number t comes last."""
    return (seed, int(stream), t)


def make_generator(seed: int, stream: SeedStream, t: int = 0) -> np.random.Generator:
    """The random numbers of one stream in one round."""
    return np.random.default_rng(make_seed_key(seed, stream, t))
