"""All that `copydesk theory` measures, in one go."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from copydesk.theory.anchors import Anchor, find_anchors
from copydesk.theory.curves import Curves, measure_curves
from copydesk.theory.grid import APART, LENGTHS, SINGLE, STRENGTHS, Grid, measure_grid
from copydesk.theory.lab import Setting
from copydesk.theory.regret import Regret, measure_regret
from copydesk.theory.slopes import Estimate, Slopes, all_slopes
from copydesk.theory.trials import DELTA

CURVES = tuple(Setting(strength, apart) for strength in (1, 4, 32) for apart in (1.0, 3.0, 6.0))
"""Weak to strong users, and good to poor coverage."""
REGRETS = (Setting(1, 6.0), Setting(4, 3.0), Setting(32, 3.0))
ROUNDS = 2_000


@dataclass(frozen=True)
class Study:
    """What was measured, and with what."""

    repeats: int
    seed: int
    curves: list[Curves]
    grids: list[Grid]
    slopes: list[Slopes]
    regrets: list[Regret]
    fixed_points: list[Anchor]

    def to_json(self) -> dict[str, Any]:
        """Everything but the single repetitions: means over them, bounds, winners, slopes, fixed points."""
        return {
            "settings": {"repeats": self.repeats, "seed": self.seed, "delta": DELTA},
            "users": [_user(Setting(strength, 3.0)) for strength in STRENGTHS],
            "curves": [_curve(curves) for curves in self.curves],
            "grids": [_grid(grid) for grid in self.grids],
            "slopes": [_slopes(slopes) for slopes in self.slopes],
            "regrets": [
                {
                    "strength": regret.setting.strength,
                    "apart": regret.setting.divergence,
                    "rounds": len(regret.bound),
                    "regret": {name: rows[:, -1].mean() for name, rows in regret.measured.items()},
                    "bound": regret.bound[-1],
                }
                for regret in self.regrets
            ],
            "fixed_points": [vars(anchor).copy() for anchor in self.fixed_points],
        }


def steps_of(repeats: int) -> int:
    """How often a study of this many repetitions reports that it went on."""
    grid = len(LENGTHS) * len(STRENGTHS) * len(APART)
    return repeats * (len(CURVES) + len(REGRETS)) + grid + 1


def run_study(repeats: int = 20, seed: int = 0, done: Callable[[], None] = lambda: None) -> Study:
    """Measure everything, `repeats` times each. `done` is called `steps_of(repeats)` times on the way.

    Raises ValueError for fewer than two repetitions: there would be no spread.
    """
    if repeats < 2:
        raise ValueError("a study needs two repetitions or more")
    anchors = find_anchors(CURVES)
    done()
    curves = [measure_curves(setting, repeats, seed, done=done) for setting in CURVES]
    grids = [measure_grid(n, repeats, seed, done=done) for n in LENGTHS]
    slopes = [found for grid in grids for found in all_slopes(grid, seed)]
    regrets = [measure_regret(setting, ROUNDS, repeats, seed, done=done) for setting in REGRETS]
    return Study(repeats, seed, curves, grids, slopes, regrets, anchors)


def _user(setting: Setting) -> dict[str, Any]:
    return {"strength": setting.strength, **vars(setting.mixing), "distance_left": setting.distance_left}


def _curve(curves: Curves) -> dict[str, Any]:
    return {
        "strength": curves.setting.strength,
        "apart": curves.setting.divergence,
        "n": list(curves.log_sizes),
        "reference": curves.reference,
        "coefficients": {name: float(value) for name, value in vars(curves.setting.coefficients).items()},
        "subopt": {name: rows.mean(axis=0).tolist() for name, rows in curves.measured.items()},
        "std": {name: rows.std(axis=0, ddof=1).tolist() for name, rows in curves.measured.items()},
        "tables": {name: rows.mean(axis=0).tolist() for name, rows in curves.tables.items()},
        "bounds": {name: values.tolist() for name, values in curves.bounds.items()},
        "bound_broken": {name: curves.bound_violation_rate(name) for name in curves.bounds},
    }


def _grid(grid: Grid) -> dict[str, Any]:
    return {
        "n": grid.n,
        "strengths": list(grid.strengths),
        "apart": list(grid.divergences),
        "winner": [[SINGLE[k] for k in row] for row in grid.winner],
        "subopt": {name: values.mean(axis=-1).tolist() for name, values in grid.measured.items()},
        "regret": {name: grid.compute_regret(name).tolist() for name in ("early", "late")},
        "beta": grid.beta.tolist(),
        "left": grid.distance_left.tolist(),
    }


def _slopes(slopes: Slopes) -> dict[str, Any]:
    return {
        "n": slopes.n,
        "axis": slopes.axis,
        "where": slopes.subset,
        "slope": {name: _estimate(value) for name, value in slopes.slope.items()},
        "ratio": _estimate(slopes.ratio),
    }


def _estimate(estimate: Estimate) -> dict[str, float]:
    return vars(estimate).copy()
