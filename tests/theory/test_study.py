import json

import numpy as np
import pytest

from copydesk.errors import InputError
from copydesk.theory import study
from copydesk.theory.experiments import Grid, fit_all_slopes, measure_curves, measure_grid
from copydesk.theory.lab import LabSetting
from copydesk.theory.study import StudyConfig, count_steps, run_study


def test_the_reference_has_the_settings_divergence_and_the_optimum_is_shared() -> None:
    near, far = LabSetting(0.4, 1.5), LabSetting(0.9, 5.0)
    for setting in (near, far):
        problem = setting.world.problem
        ratios = np.log(problem.optimum / problem.reference)
        assert np.ptp(ratios, axis=1).max() == pytest.approx(5 * setting.divergence)
        assert setting.world.residual < 1e-14
    assert near.world.problem.optimum == pytest.approx(far.world.problem.optimum)


def test_curves_measure_every_learner_with_and_without_a_class() -> None:
    curves = measure_curves(LabSetting(0.8, 3.0), 3, 0, (30, 300))
    assert set(curves.measured) == {"sft", "dpo", "rl", "early"} == set(curves.tables)
    assert curves.measured["dpo"].shape == (3, 2) == curves.tables["dpo"].shape
    assert curves.measured["dpo"].mean(axis=0)[1] < curves.reference
    assert all(curves.bound_violation_rate(name) == 0 for name in curves.bounds)
    assert (curves.measured["sft"] <= curves.gamma_bounds).all() and (curves.bounds["sft"] < curves.gamma_bounds).all()
    assert curves.sft_distance.shape == (3, 2)
    assert (curves.sft_distance < curves.sft_distance_bounds).all()
    assert curves.tables["sft"][:, 1].mean() > curves.measured["sft"][:, 1].mean()
    again = measure_curves(LabSetting(0.8, 3.0), 3, 0, (30, 300))
    assert (again.measured["early"] == curves.measured["early"]).all()


def test_a_broken_bound_is_counted() -> None:
    curves = measure_curves(LabSetting(0.8, 3.0), 2, 0, (30, 300))
    curves.bounds["sft"][:] = [-1, 10]
    assert curves.bound_violation_rate("sft") == 0.5


def test_dpo_wins_with_weak_users_and_sft_with_strong_ones() -> None:
    grid = measure_grid(1_000, 5, 0, attentions=(0.4, 1.0), divergences=(5.0, 6.0))
    assert grid.winner.tolist() == [[1, 1], [0, 0]]
    assert grid.compute_regret("late").shape == (2, 2)
    for name in ("sft", "dpo", "rl", "early"):
        assert (grid.measured["late"].mean(axis=-1) < 1).all()
        assert grid.measured[name].shape == (2, 2, 5)
    assert (grid.compute_regret("dpo")[0] == 0).all()
    assert (grid.compute_regret("dpo")[1] > 0).all()


def made_grid() -> Grid:
    """SubOpt/β is 1 + 2 coverage + 3 left for DPO and 1 + coverage + 6 left for SFT, with a little rng."""
    attentions, divergences = (0.4, 1.0), (1.0, 3.0, 5.0)
    left = np.array([[0.5] * 3, [0.1] * 3])
    coverage = np.broadcast_to([0.0, 0.5, 1.0], (2, 3))
    rng = np.random.default_rng(0).normal(0, 0.01, (4, 2, 3, 40))
    rng -= rng.mean(axis=-1, keepdims=True)
    planes = [1 + coverage + 6 * left, 1 + 2 * coverage + 3 * left, 1 + 0 * left, 1 + 0 * left]
    beta = np.full((2, 3), 0.1)
    names = ("sft", "dpo", "rl", "early")
    measured = {name: 0.1 * (plane[..., None] + noise) for name, plane, noise in zip(names, planes, rng, strict=True)}
    return Grid(100, attentions, divergences, measured, beta, left, np.array([0.5, 0.9]))


def test_slopes_of_a_grid_made_by_hand() -> None:
    fits = fit_all_slopes(made_grid(), 0)
    assert [s.axis for s in fits] == ["coverage"] * 4 + ["quality"] * 4
    for slopes in fits[:4]:
        assert slopes.slope["sft"].value == pytest.approx(1)
        assert slopes.slope["dpo"].value == pytest.approx(2)
        assert slopes.ratio.value == pytest.approx(2)
        assert 1.9 < slopes.ratio.low < 2 < slopes.ratio.high < 2.1
    assert fits[-1].subset == "all coverages, by the distance left"
    for slopes in fits[4:]:
        assert slopes.slope["sft"].value == pytest.approx(6)
        assert slopes.ratio.value == pytest.approx(2)


@pytest.mark.slow
def test_a_whole_study_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "CURVE_SETTINGS", (LabSetting(0.8, 3.0),))
    monkeypatch.setattr(study, "REGRET_SETTINGS", (LabSetting(0.8, 3.0),))
    monkeypatch.setattr(study, "REGRET_ROUNDS", 20)
    monkeypatch.setattr(study, "GRID_LOG_SIZES", (30,))
    calls: list[None] = []
    found = run_study(StudyConfig(repeats=2), lambda: calls.append(None))
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert len(calls) == count_steps(2)
    assert document["settings"] == {"repeats": 2, "seed": 0, "delta": 0.05}
    quality = {"gamma_min", "eigenvalue", "contraction", "worsening", "distance_left"}
    assert {"attention", "exact"} | quality == set(document["users"][0])
    assert [user["gamma_min"] for user in document["users"]][:2] == pytest.approx([0, 0.000292], abs=1e-6)
    assert document["curves"][0]["bound_broken"] == {"sft": 0, "dpo": 0, "rl": 0}
    assert document["regrets"][0]["rounds"] == 20
    assert len(document["fixed_points"]) == 3


def test_one_repetition_has_no_spread() -> None:
    with pytest.raises(InputError, match=r"--repeats: 1 must be at least 2"):
        StudyConfig(repeats=1)
