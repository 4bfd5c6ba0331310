"""The late ensemble's regret over the rounds, beside its bound."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from copydesk.theory.bounds import late_bound
from copydesk.theory.lab import LabSetting
from copydesk.theory.late import play_lab_ensemble
from copydesk.theory.log import draw_lab_log
from copydesk.theory.space import Array
from copydesk.theory.trials import select_members

REGRET_LOG_SIZE = 100
"""Edits in the log that the arms learn from: few, so that the arms differ."""
REGRET_ALPHAS = {"√2": sqrt(2), "0.3": 0.3}
"""What the bound asks for, and what the gateway and the simulation use; in units of the losses' interval."""


@dataclass(frozen=True)
class LabRegret:
    """Regret against the best arm in hindsight, in units of cost.

    Attributes:
        setting: the world. The arms are SFT, DPO, RL and the early ensemble, each learned from one log.
        measured: by the α of UCB, as text: (R, T), R repetitions over T rounds, each with its own log and arms.
        bound: of the mean, for α = √2: (T,), with the widest interval of losses among the repetitions.
    """

    setting: LabSetting
    measured: Mapping[str, Array]
    bound: Array


def measure_regret(
    setting: LabSetting, rounds: int, repeats: int, seed: int, done: Callable[[], None] = lambda: None
) -> LabRegret:
    """Learn from a log of `REGRET_LOG_SIZE` edits and play, `repeats` times. `done` is called after each."""
    measured: dict[str, list[Array]] = {name: [] for name in REGRET_ALPHAS}
    spread = 0.0
    arms = 0
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, 7, setting.strength, round(1000 * setting.divergence), repeat])
        chosen = select_members(setting, draw_lab_log(setting.world, REGRET_LOG_SIZE, rng))
        policies = [setting.members.policies[k] for k in chosen.values()]
        arms = len(policies)
        for name, alpha in REGRET_ALPHAS.items():
            played = play_lab_ensemble(setting.world, policies, rounds, alpha, rng)
            measured[name].append(played.regret)
            spread = max(spread, played.spread)
        done()
    bound = np.array([late_bound(t, arms, spread).value for t in range(1, rounds + 1)])
    return LabRegret(setting, {name: np.array(rows) for name, rows in measured.items()}, bound)
