"""How SubOpt falls as the log grows, beside the bounds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from copydesk.theory.bounds import dpo_bound, rl_bound, sft_bound
from copydesk.theory.lab import LabSetting
from copydesk.theory.log import draw_lab_log
from copydesk.theory.space import Array
from copydesk.theory.trials import BOUND_DELTA, LEARNERS, compute_subopt, compute_table_subopt, select_members

CURVE_LOG_SIZES = (30, 100, 300, 1_000, 3_000, 10_000)
TABLE_REPEATS = 5
"""How many of the repetitions train tables as well."""


@dataclass(frozen=True)
class Curves:
    """SubOpt against n in one setting, in units of cost.

    Attributes:
        setting: the world.
        log_sizes: n, (N,).
        measured: SubOpt of each learner, (R, N): R repetitions. The log of a repetition grows from n to n.
        tables: the same without a class, by softmax tables.
        bounds: the bound of each learner that has one, (N,), with probability 1 − δ.
        reference: SubOpt(π_ref).
    """

    setting: LabSetting
    log_sizes: tuple[int, ...]
    measured: Mapping[str, Array]
    tables: Mapping[str, Array]
    bounds: Mapping[str, Array]
    reference: float

    def bound_violation_rate(self, learner: str) -> float:
        """The share of repetitions, over all n, in which the bound was below what was measured."""
        return float((self.measured[learner] > self.bounds[learner]).mean())


def measure_curves(
    setting: LabSetting,
    repeats: int,
    seed: int,
    lengths: Sequence[int] = CURVE_LOG_SIZES,
    done: Callable[[], None] = lambda: None,
) -> Curves:
    """Draw `repeats` logs and learn from longer and longer beginnings of each. `done` is called after each log."""
    measured: dict[str, list[list[float]]] = {name: [] for name in LEARNERS}
    tables: dict[str, list[list[float]]] = {name: [] for name in LEARNERS}
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, setting.strength, round(1000 * setting.divergence), repeat])
        log = draw_lab_log(setting.world, lengths[0], rng)
        rows, table_rows = [], []
        for i, n in enumerate(lengths):
            if i:
                log = log + draw_lab_log(setting.world, n - lengths[i - 1], rng)
            rows.append(compute_subopt(setting, select_members(setting, log)))
            if repeat < TABLE_REPEATS:
                table_rows.append(compute_table_subopt(setting, log))
        for name in LEARNERS:
            measured[name].append([row[name] for row in rows])
            if table_rows:
                tables[name].append([row[name] for row in table_rows])
        done()
    given = setting.coefficients
    bounds = {
        name: np.array([bound(given, n, BOUND_DELTA).value for n in lengths])
        for name, bound in (("sft", sft_bound), ("dpo", dpo_bound), ("rl", rl_bound))
    }
    problem = setting.world.problem
    return Curves(
        setting,
        tuple(lengths),
        {name: np.array(rows) for name, rows in measured.items()},
        {name: np.array(rows) for name, rows in tables.items()},
        bounds,
        problem.suboptimality(problem.reference),
    )
