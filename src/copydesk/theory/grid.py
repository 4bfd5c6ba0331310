"""Which method wins where: every strength of the user with every coverage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from copydesk.theory.lab import Setting
from copydesk.theory.late import play_late
from copydesk.theory.log import draw_log
from copydesk.theory.space import Array
from copydesk.theory.trials import LEARNERS, learn, left_to_gain

STRENGTHS = (1, 2, 4, 8, 16, 32)
APART = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
LENGTHS = (100, 1_000)
ROUNDS = 200
ALPHA = 0.3
"""Of the late ensemble, in units of the losses' interval: what the gateway and the simulation use."""
SINGLE = ("sft", "dpo", "rl")


@dataclass(frozen=True)
class Grid:
    """SubOpt, in units of cost, on a grid of S strengths and A coverages, with logs of n edits and R repetitions.

    Attributes:
        n: edits in the log.
        strengths, apart: the axes, (S,) and (A,) (`lab.Setting`).
        measured: SubOpt of each learner, (S, A, R); of `late` the mean over the rounds it played.
        beta: β of each world, (S, A): SubOpt/β is in nats.
        distance_left: what an edit leaves of the distance to π*, (S, A) (`Setting.distance_left`).
    """

    n: int
    strengths: tuple[int, ...]
    divergences: tuple[float, ...]
    measured: Mapping[str, Array]
    beta: Array
    distance_left: Array

    @property
    def winner(self) -> np.ndarray:
        """The number in `SINGLE` of the method that uses one kind of feedback and has the least mean SubOpt, (S, A)."""
        return np.asarray(np.stack([self.measured[name].mean(axis=-1) for name in SINGLE]).argmin(axis=0))

    def compute_regret(self, learner: str) -> Array:
        """Mean SubOpt less that of the winner, (S, A); below 0 where the learner is better than all three."""
        best = np.min([self.measured[name].mean(axis=-1) for name in SINGLE], axis=0)
        return np.asarray(self.measured[learner].mean(axis=-1) - best)


def measure_grid(
    n: int,
    repeats: int,
    seed: int,
    strengths: Sequence[int] = STRENGTHS,
    apart: Sequence[float] = APART,
    done: Callable[[], None] = lambda: None,
) -> Grid:
    """Draw `repeats` logs of n edits in every setting, learn from each, and let a late ensemble play what was learned.

    `done` is called after each setting.
    """
    shape = (len(strengths), len(apart), repeats)
    measured = {name: np.empty(shape) for name in (*LEARNERS, "late")}
    beta, left = np.empty(shape[:2]), np.empty(shape[:2])
    for s, strength in enumerate(strengths):
        for a, distance in enumerate(apart):
            setting = Setting(strength, distance)
            world = setting.world
            beta[s, a], left[s, a] = world.problem.beta, setting.distance_left
            for repeat in range(repeats):
                rng = np.random.default_rng([seed, n, strength, round(1000 * distance), repeat])
                chosen = learn(setting, draw_log(world, n, rng))
                for name, value in left_to_gain(setting, chosen).items():
                    measured[name][s, a, repeat] = value
                policies = [setting.members.policies[k] for k in chosen.values()]
                measured["late"][s, a, repeat] = play_late(world, policies, ROUNDS, ALPHA, rng).mean
            done()
    return Grid(n, tuple(strengths), tuple(apart), measured, beta, left)
