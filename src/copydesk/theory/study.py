"""Runs every experiment of `copydesk theory`, and converts the results to JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from copydesk.theory.experiments import (
    GRID_ATTENTIONS,
    GRID_DIVERGENCES,
    GRID_LOG_SIZES,
    SINGLE_FEEDBACK_LEARNERS,
    Curves,
    Grid,
    LabRegret,
    SlopeEstimate,
    SlopeFit,
    fit_all_slopes,
    measure_curves,
    measure_grid,
    measure_regret,
)
from copydesk.theory.lab import FixedPoint, LabSetting, find_fixed_points
from copydesk.theory.learners import BOUND_DELTA
from copydesk.utils.config import Config

CURVE_SETTINGS = tuple(
    LabSetting(attention, divergence, exact)
    for attention, exact in ((0.4, True), (0.4, False), (0.8, False), (1.0, False))
    for divergence in (1.0, 3.0, 6.0)
)
"""Weak to strong users, first the one who attends to exactly two preferences, and good to poor coverage."""
REGRET_SETTINGS = (LabSetting(0.4, 6.0), LabSetting(0.8, 3.0), LabSetting(1.0, 3.0))
REGRET_ROUNDS = 2_000
USER_SETTINGS = (LabSetting(0.4, 3.0, exact=True), *(LabSetting(attention, 3.0) for attention in GRID_ATTENTIONS))
"""One setting for each user, at fair coverage."""


class StudyConfig(Config):
    """Settings of a study. With a single repetition there would be no spread."""

    repeats: Annotated[int, Field(ge=2, description="Number of logs drawn for each setting and length.")] = 20
    seed: Annotated[int, Field(ge=0, description="Seed of the logs and of the late ensemble's rounds.")] = 0


@dataclass(frozen=True)
class Study:
    """The results of all experiments, with the number of repetitions and the seed."""

    repeats: int
    seed: int
    curves: list[Curves]
    grids: list[Grid]
    slopes: list[SlopeFit]
    regrets: list[LabRegret]
    fixed_points: list[FixedPoint]

    def to_json(self) -> dict[str, Any]:
        """Means over the repetitions, bounds, winners, slopes and fixed points; single repetitions are left out."""
        return {
            "settings": {"repeats": self.repeats, "seed": self.seed, "delta": BOUND_DELTA},
            "users": [_user_json(setting) for setting in USER_SETTINGS],
            "curves": [_curve_json(curves) for curves in self.curves],
            "grids": [_grid_json(grid) for grid in self.grids],
            "slopes": [_slopes_json(slopes) for slopes in self.slopes],
            "regrets": [
                {
                    **_setting_json(regret.setting),
                    "rounds": len(regret.bound),
                    "regret": {name: rows[:, -1].mean() for name, rows in regret.measured.items()},
                    "bound": regret.bound[-1],
                }
                for regret in self.regrets
            ],
            "fixed_points": [_fixed_point_json(point) for point in self.fixed_points],
        }


def count_steps(repeats: int) -> int:
    """How often `run_study` calls `done` with this number of repetitions."""
    grid = len(GRID_LOG_SIZES) * len(GRID_ATTENTIONS) * len(GRID_DIVERGENCES)
    return repeats * (len(CURVE_SETTINGS) + len(REGRET_SETTINGS)) + grid + 1


def run_study(config: StudyConfig, done: Callable[[], None] = lambda: None) -> Study:
    """Run every experiment. `done` is called `count_steps(config.repeats)` times."""
    repeats, seed = config.repeats, config.seed
    fixed_points = find_fixed_points([setting for setting in CURVE_SETTINGS if not setting.exact])
    done()
    curves = [measure_curves(setting, repeats, seed, done=done) for setting in CURVE_SETTINGS]
    grids = [measure_grid(n, repeats, seed, done=done) for n in GRID_LOG_SIZES]
    slopes = [found for grid in grids for found in fit_all_slopes(grid, seed)]
    regrets = [measure_regret(setting, REGRET_ROUNDS, repeats, seed, done=done) for setting in REGRET_SETTINGS]
    return Study(repeats, seed, curves, grids, slopes, regrets, fixed_points)


def _user_json(setting: LabSetting) -> dict[str, Any]:
    quality = vars(setting.quality) | {"distance_left": setting.distance_left}
    return {"attention": setting.attention, "exact": setting.exact, **quality}


def _setting_json(setting: LabSetting) -> dict[str, Any]:
    return {"attention": setting.attention, "exact": setting.exact, "apart": setting.divergence}


def _curve_json(curves: Curves) -> dict[str, Any]:
    return {
        **_setting_json(curves.setting),
        "n": list(curves.log_sizes),
        "reference": curves.reference,
        "coefficients": {name: float(value) for name, value in vars(curves.setting.coefficients).items()},
        "subopt": {name: rows.mean(axis=0).tolist() for name, rows in curves.measured.items()},
        "std": {name: rows.std(axis=0, ddof=1).tolist() for name, rows in curves.measured.items()},
        "tables": {name: rows.mean(axis=0).tolist() for name, rows in curves.tables.items()},
        "bounds": {name: values.tolist() for name, values in curves.bounds.items()},
        "gamma_bounds": curves.gamma_bounds.tolist(),
        "sft_distance": curves.sft_distance.mean(axis=0).tolist(),
        "sft_distance_bounds": curves.sft_distance_bounds.tolist(),
        "bound_broken": {name: curves.bound_violation_rate(name) for name in curves.bounds},
    }


def _grid_json(grid: Grid) -> dict[str, Any]:
    return {
        "n": grid.n,
        "attentions": list(grid.attentions),
        "gamma_min": grid.gamma_min.tolist(),
        "apart": list(grid.divergences),
        "winner": [[SINGLE_FEEDBACK_LEARNERS[k] for k in row] for row in grid.winner],
        "subopt": {name: values.mean(axis=-1).tolist() for name, values in grid.measured.items()},
        "regret": {name: grid.compute_regret(name).tolist() for name in ("early", "late")},
        "beta": grid.beta.tolist(),
        "left": grid.distance_left.tolist(),
    }


def _slopes_json(slopes: SlopeFit) -> dict[str, Any]:
    return {
        "n": slopes.n,
        "axis": slopes.axis,
        "where": slopes.subset,
        "slope": {name: _estimate_json(value) for name, value in slopes.slope.items()},
        "ratio": _estimate_json(slopes.ratio),
    }


def _fixed_point_json(point: FixedPoint) -> dict[str, Any]:
    return {"apart" if name == "divergence" else name: value for name, value in vars(point).items()}


def _estimate_json(estimate: SlopeEstimate) -> dict[str, float]:
    return vars(estimate).copy()
