from math import exp

import numpy as np
import pytest

from copydesk.diagnose.quality import ReferenceScores, compute_effective_share, measure_coverage


def scores(edit: list[float], response: list[float], own: list[float], tokens: float = 10.0) -> ReferenceScores:
    lengths = np.full(len(edit), tokens)
    return ReferenceScores(np.array(edit), np.array(response), lengths, lengths, np.array(own))


def test_figures_by_hand() -> None:
    found = measure_coverage("m", scores([-10.0, -30.0], [-20.0, -20.0], [-2.0, -2.2, -1.8]))
    assert (found.model, found.rows, found.edit, found.response) == ("m", 2, -20.0, -20.0)
    assert (found.edit_per_token, found.response_per_token) == (-2.0, -2.0)
    assert (found.margin, found.margin_scale) == (0.0, 10.0)
    assert found.rare == 0.5
    # weights 1 (not e^10) and e^-10
    assert found.ess == pytest.approx((1 + exp(-10)) ** 2 / (1 + exp(-20)) / 2)
    assert found.overlap == pytest.approx((1 + exp(-1)) / 2)
    assert found.own_per_token == pytest.approx(-2.0)
    assert not found.foreign


def test_the_effective_share_of_equal_weights_is_all_and_of_one_giant_is_one_row() -> None:
    assert compute_effective_share([-500.0] * 8) == pytest.approx(1.0)
    assert compute_effective_share([0.0, -900.0, -900.0, -900.0]) == pytest.approx(0.25)


def test_edits_that_are_all_equally_unlikely_show_in_the_overlap() -> None:
    found = measure_coverage("m", scores([-40.0] * 4, [-20.0] * 4, []))
    assert found.ess == pytest.approx(1.0)
    assert found.overlap == pytest.approx(exp(-2))
    assert found.rare == 1.0
    assert (found.own_per_token, found.foreign) == (None, False)


def test_a_log_of_another_model_is_recognised() -> None:
    rng = np.random.default_rng(0)
    own = (-1.0 + 0.2 * rng.normal(size=30)).tolist()
    same = (-10.0 + 2 * rng.normal(size=100)).tolist()
    other = (-30.0 + 2 * rng.normal(size=100)).tolist()
    assert not measure_coverage("m", scores(same, same, own)).foreign
    assert measure_coverage("m", scores(other, other, own)).foreign
    # a temperature below 1 makes responses likelier, and is no sign of another model
    assert not measure_coverage("m", scores(same, (0.5 * np.array(same)).tolist(), own)).foreign
