"""The text and structure of the lab's page, beside golden files; every figure is made up."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.page_outline import check_golden_page

from copydesk.theory.experiments import Curves, Grid, LabRegret, SlopeEstimate, SlopeFit
from copydesk.theory.lab import FixedPoint, LabSetting
from copydesk.theory.page import render_study_html
from copydesk.theory.study import Study

GOLDEN = Path(__file__).parent / "golden"


def make_curves(attention: float, divergence: float, bound: float = 8.0) -> Curves:
    """Two repetitions over two lengths; the bounds are broken in some of the logs."""
    measured = {
        "sft": np.array([[0.8, 0.4], [0.7, 0.35]]),
        "dpo": np.array([[0.9, 0.2], [0.9, 0.1]]),
        "rl": np.array([[0.3, 0.1], [0.3, 0.1]]),
        "early": np.array([[0.6, 0.7], [0.6, 0.7]]),
    }
    return Curves(
        setting=LabSetting(attention, divergence),
        log_sizes=(30, 1000),
        measured=measured,
        tables={name: rows * 1.5 for name, rows in measured.items()},
        bounds={"sft": np.array([0.75, 2.0]), "dpo": np.array([bound, bound]), "rl": np.array([4.0, 1.0])},
        gamma_bounds=np.array([0.75, 3.0]),
        sft_distance=np.array([[0.5, 0.25], [0.5, 0.25]]),
        sft_distance_bounds=np.array([0.375, 0.375]),
        reference=1.0,
    )


def make_grid(n: int) -> Grid:
    best, middle, worst = 0.125, 0.25, 0.5
    levels = {
        "sft": [[worst, middle], [best, best]],
        "dpo": [[best, best], [middle, middle]],
        "rl": [[middle, worst], [worst, best]],
        "early": [[best, middle], [middle, 0.0625]],
        "late": [[middle, middle], [middle, middle]],
    }
    spread = np.array([-1, 0, 1]) / 128  # exact in binary, so that ties are ties everywhere
    measured = {name: np.array(rows)[:, :, None] + spread * (k + 1) for k, (name, rows) in enumerate(levels.items())}
    return Grid(
        n,
        (0.4, 1.0),
        (1.0, 6.0),
        measured,
        np.full((2, 2), 0.5),
        np.array([[0.9, 0.8], [0.1, 0.2]]),
        np.array([0.01, 0.9]),
    )


def make_fit(axis: str, subset: str, ratio: tuple[float, float, float], least: float = 0.5) -> SlopeFit:
    larger, smaller = ("dpo", "sft") if axis == "coverage" else ("sft", "dpo")
    slope = {larger: SlopeEstimate(*ratio), smaller: SlopeEstimate(1.0, least, 2.0)}
    return SlopeFit(1000, axis, subset, slope, SlopeEstimate(*ratio))


def make_full_study() -> Study:
    return Study(
        repeats=3,
        seed=5,
        curves=[make_curves(0.4, 1.0), make_curves(0.4, 6.0), make_curves(1.0, 3.0, bound=float("inf"))],
        grids=[make_grid(100), make_grid(1000)],
        slopes=[
            make_fit("quality", "all coverages", (5.0, 3.0, 9.0)),
            make_fit("coverage", "strong users, p ≥ 0.9", (2.0, -0.5, 3.0)),
            make_fit("coverage", "weak users, p ≤ 0.4", (0.4, 0.2, 0.8)),
            make_fit("coverage", "all users", (7.0, -40.0, 90.0), least=-0.5),
        ],
        regrets=[
            LabRegret(
                LabSetting(0.4, 6.0),
                {"√2": np.array([[0.5, 1.0], [0.5, 2.0]]), "0.3": np.array([[0.1, 0.2], [0.1, 0.3]])},
                np.array([10.0, 20.0]),
            )
        ],
        fixed_points=[
            FixedPoint(0.8, 1.0, "no <costs>", 1e-13, 60, 1e-9),
            FixedPoint(0.8, 1.0, "its own", 2e-13, 1200, 0.0),
            FixedPoint(0.8, 6.0, "no <costs>", 1e-13, 60, 0.25),
            FixedPoint(1.0, 3.0, "its own", 0.1, 20000, 0.5),
        ],
    )


def make_small_study() -> Study:
    """No regrets, no fixed points and no ratio that can be drawn."""
    fits = [make_fit("coverage", "all users", (7.0, -40.0, 90.0), least=-0.5)]
    return Study(2, 0, [make_curves(0.8, 3.0)], [make_grid(30)], fits, [], [])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "make"), [("full", make_full_study), ("small", make_small_study)])
def test_the_page_has_its_golden_text_and_structure(name: str, make) -> None:
    check_golden_page(render_study_html(make()), GOLDEN / f"{name}.txt")
