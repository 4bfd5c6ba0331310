import math

import pytest

from copydesk.training.trainer import displacement_warning


def entry(preferred: float, margin: float, response: float = -9.0) -> dict[str, float]:
    return {"logp_gain/preferred": preferred, "logp_gain/response": response, "margin": margin, "loss": 0.5}


def test_edits_that_fall_while_the_margin_rises_are_displaced() -> None:
    words = displacement_warning([entry(0.0, 0.0), entry(-0.4, 0.2), entry(-3.24, 0.58)])
    assert words is not None and "\n" not in words
    for part in ("displacement", "from 0 to 0.58", "3.2 nats below", "9.0 nats below", "2410.08847"):
        assert part in words
    for remedy in ("--lambda-sup", "--method early", "--preference dpop", "--lr"):
        assert remedy in words


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"loss": 1.0}],
        [entry(-3.0, 0.5)],  # nothing to compare with
        [entry(0.0, 0.0), entry(-0.9, 0.5)],  # a little is no matter
        [entry(0.0, 0.3), entry(-3.0, 0.1)],  # the margin fell too: another failure
        [entry(0.0, 0.0), entry(-3.0, 0.3), entry(0.2, 0.5)],  # recovered
        [entry(0.0, 0.0), entry(math.nan, 0.5)],
    ],
)
def test_nothing_else_is(history: list[dict[str, float]]) -> None:
    assert displacement_warning(history) is None


def test_entries_without_the_figures_are_passed_over() -> None:
    summary = {"train_runtime": 3.0}
    assert displacement_warning([summary, entry(0.0, 0.0), {"loss": 1.0}, entry(-2.0, 0.5), summary]) is not None


def test_a_response_that_gained_is_reported_as_above_the_reference() -> None:
    words = displacement_warning([entry(0.0, -5.0), entry(-2.0, -1.0, response=0.5)])
    assert words is not None and "0.5 nats above" in words
