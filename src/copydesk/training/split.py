"""Which rows are trained on and which are kept to measure with."""

import hashlib
import math
from collections.abc import Sequence

from copydesk.training.encode import Triple


def split_triples(triples: Sequence[Triple], held_out: float, seed: int) -> tuple[list[Triple], list[Triple]]:
    """Divide triples into those to train on and those to measure with, the same way every time.

    A row's place follows from its id and the seed alone, not from the order of the log. With `held_out` above 0 at
    least one row is kept where there are two, and at least one edited row stays to train on.

    Args:
        triples: all rows.
        held_out: the share to keep, at least 0 and less than 1.
        seed: another seed, another split.

    Returns:
        The rows to train on and the held-out rows, each in the order given.
    """
    order = sorted(range(len(triples)), key=lambda i: _hash_rank(triples[i].id, seed))
    count = min(math.ceil(len(triples) * held_out), len(triples) - 1)
    # The last edited row of the order is never held out: without it training would have nothing to learn.
    edited = [i for i in order if triples[i].edited]
    kept = set([i for i in order if i not in edited[-1:]][:count])
    train = [triple for i, triple in enumerate(triples) if i not in kept]
    return train, [triple for i, triple in enumerate(triples) if i in kept]


def _hash_rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
