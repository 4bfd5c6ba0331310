import random

import pytest

from copydesk.diagnose.edits import EditAlignment, align_edit, measure_consistency

PLANTED = {"Dear": "Hi", "utilize": "use", "Best regards": "Cheers"}


def planted(rows: int, p: float, seed: int) -> list[EditAlignment]:
    """Letters of which each planted rewrite is done with probability p."""
    rng = random.Random(seed)
    changes = []
    for row in range(rows):
        response = f"Dear x{row} we utilize item y{row} now Best regards z{row}"
        edit = response
        for before, after in PLANTED.items():
            edit = edit.replace(before, after) if rng.random() < p else edit
        changes.append(align_edit(response, edit))
    return changes


def test_figures_by_hand() -> None:
    pairs = [("Dear a", "Hi a"), ("Dear b", "Hi b"), ("Dear c", "Hi c"), ("Dear d", "Hello d"), ("Dear e", "Dear e")]
    found = measure_consistency([align_edit(*pair) for pair in pairs])
    (one,) = found.applications
    assert (one.before, one.after, one.applied, one.changed, one.occurred) == ("Dear", "Hi", 3, 4, 5)
    assert one.rate == found.mean == pytest.approx(0.6)
    assert found.covered == pytest.approx(3 / 4)
    assert found.distinct == 1
    assert found.vocabulary == 8  # Dear, Hi, Hello and five letters


def test_phrases_are_weighted_by_how_often_they_are_changed() -> None:
    pairs = [("Dear a", "Hi a")] * 6 + [("please b", "b")] * 3 + [("please b", "please b")] * 3
    found = measure_consistency([align_edit(*pair) for pair in pairs])
    assert found.mean == pytest.approx((6 * 1.0 + 3 * 0.5) / 9)


@pytest.mark.parametrize("p", [0.3, 0.9])
def test_a_planted_rate_is_within_its_interval(p: float) -> None:
    held = 0
    for seed in range(40):
        found = measure_consistency(planted(150, p, seed), seed)
        assert found.mean is not None and found.low is not None and found.high is not None
        assert found.high - found.low < 0.15
        held += found.low <= p <= found.high
    assert held >= 33  # 95% of 40 is 38


def test_a_log_without_common_rewrites_has_no_consistency() -> None:
    found = measure_consistency([align_edit(f"a{row} b", f"c{row} b") for row in range(20)])
    assert (found.mean, found.low, found.high, found.covered, found.distinct) == (None, None, None, 0.0, 0)
    assert measure_consistency([]).mean is None


def test_the_seed_decides_the_interval() -> None:
    changes = planted(30, 0.5, 0)
    assert measure_consistency(changes, 1) == measure_consistency(changes, 1)
