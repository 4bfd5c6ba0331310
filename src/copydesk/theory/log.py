"""Logs of the lab: how often each context, response and edit came together."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from copydesk.theory.fixed_point import World
from copydesk.theory.space import Array


@dataclass(frozen=True)
class LabLog:
    """n triples (x, y, y') as counts, (X, Y, Y'): their order tells nothing, and every learner needs no more.

    `distance` is Δ_edit, (Y, Y').
    """

    counts: NDArray[np.int64]
    distance: Array

    @cached_property
    def n(self) -> int:
        """How many triples there are."""
        return int(self.counts.sum())

    @cached_property
    def response_counts(self) -> Array:
        """How often each response was given, (X, Y)."""
        return np.asarray(self.counts.sum(axis=2), dtype=np.float64)

    @cached_property
    def edit_counts(self) -> Array:
        """How often each edit was made of some response, (X, Y')."""
        return np.asarray(self.counts.sum(axis=1), dtype=np.float64)

    @cached_property
    def contexts(self) -> Array:
        """The share of each context, (X,)."""
        return np.asarray(self.response_counts.sum(axis=1) / self.n)

    def __add__(self, other: "LabLog") -> "LabLog":
        return LabLog(self.counts + other.counts, self.distance)


def draw_lab_log(world: World, n: int, rng: np.random.Generator) -> LabLog:
    """The offline phase of Protocol 1: x ~ ρ, y ~ π_ref(·|x), y' ~ q(·|x, y), n times."""
    problem = world.problem
    joint = problem.contexts[:, None, None] * problem.reference[:, :, None] * world.edits
    counts = rng.multinomial(n, joint.ravel() / joint.sum()).reshape(joint.shape)
    return LabLog(np.asarray(counts, dtype=np.int64), world.distance)
