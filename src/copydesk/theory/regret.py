"""The late ensemble's regret over the rounds, beside its bound."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from copydesk.theory.bounds import late_bound
from copydesk.theory.lab import Setting
from copydesk.theory.late import play_late
from copydesk.theory.log import draw_log
from copydesk.theory.space import Array
from copydesk.theory.trials import learn

EDITS = 100
"""Edits in the log that the arms learn from: few, so that the arms differ."""
ALPHAS = {"√2": sqrt(2), "0.3": 0.3}
"""What the bound asks for, and what the gateway and the simulation use; in units of the losses' interval."""


@dataclass(frozen=True)
class Regret:
    """Regret against the best arm in hindsight, in units of cost.

    Attributes:
        setting: the world. The arms are SFT, DPO, RL and the early ensemble, each learned from one log.
        measured: by the α of UCB, as text: (R, T), R repetitions over T rounds, each with its own log and arms.
        bound: of the mean, for α = √2: (T,), with the widest interval of losses among the repetitions.
    """

    setting: Setting
    measured: Mapping[str, Array]
    bound: Array


def measure_regret(
    setting: Setting, rounds: int, repeats: int, seed: int, done: Callable[[], None] = lambda: None
) -> Regret:
    """Learn from a log of `EDITS` edits and play, `repeats` times. `done` is called after each."""
    measured: dict[str, list[Array]] = {name: [] for name in ALPHAS}
    spread = 0.0
    arms = 0
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, 7, setting.strength, round(1000 * setting.divergence), repeat])
        chosen = learn(setting, draw_log(setting.world, EDITS, rng))
        policies = [setting.members.policies[k] for k in chosen.values()]
        arms = len(policies)
        for name, alpha in ALPHAS.items():
            played = play_late(setting.world, policies, rounds, alpha, rng)
            measured[name].append(played.regret)
            spread = max(spread, played.spread)
        done()
    bound = np.array([late_bound(t, arms, spread).value for t in range(1, rounds + 1)])
    return Regret(setting, {name: np.array(rows) for name, rows in measured.items()}, bound)
