"""Which method wins where: every strength of the user with every coverage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from copydesk.theory.lab import LabSetting
from copydesk.theory.late import play_lab_ensemble
from copydesk.theory.log import draw_lab_log
from copydesk.theory.space import Array
from copydesk.theory.trials import LEARNERS, compute_subopt, select_members

GRID_STRENGTHS = (1, 2, 4, 8, 16, 32)
GRID_DIVERGENCES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
GRID_LOG_SIZES = (100, 1_000)
GRID_ROUNDS = 200
GRID_ALPHA = 0.3
"""Of the late ensemble, in units of the losses' interval: what the gateway and the simulation use."""
SINGLE_FEEDBACK_LEARNERS = ("sft", "dpo", "rl")


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
        """The number in `SINGLE_FEEDBACK_LEARNERS` of the method that uses one kind of feedback and has the least mean SubOpt, (S, A)."""
        return np.asarray(
            np.stack([self.measured[name].mean(axis=-1) for name in SINGLE_FEEDBACK_LEARNERS]).argmin(axis=0)
        )

    def compute_regret(self, learner: str) -> Array:
        """Mean SubOpt less that of the winner, (S, A); below 0 where the learner is better than all three."""
        best = np.min([self.measured[name].mean(axis=-1) for name in SINGLE_FEEDBACK_LEARNERS], axis=0)
        return np.asarray(self.measured[learner].mean(axis=-1) - best)


def measure_grid(
    n: int,
    repeats: int,
    seed: int,
    strengths: Sequence[int] = GRID_STRENGTHS,
    apart: Sequence[float] = GRID_DIVERGENCES,
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
            setting = LabSetting(strength, distance)
            world = setting.world
            beta[s, a], left[s, a] = world.problem.beta, setting.distance_left
            for repeat in range(repeats):
                rng = np.random.default_rng([seed, n, strength, round(1000 * distance), repeat])
                chosen = select_members(setting, draw_lab_log(world, n, rng))
                for name, value in compute_subopt(setting, chosen).items():
                    measured[name][s, a, repeat] = value
                policies = [setting.members.policies[k] for k in chosen.values()]
                measured["late"][s, a, repeat] = play_lab_ensemble(world, policies, GRID_ROUNDS, GRID_ALPHA, rng).mean
            done()
    return Grid(n, tuple(strengths), tuple(apart), measured, beta, left)
