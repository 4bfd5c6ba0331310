"""The figures of the paper's poster."""

import pytest

from copydesk.report import metrics


@pytest.mark.parametrize("method", ["base", "sft", "dpo", "early", "late"])
def test_max_subopt_is_near_the_largest_gap_of_the_means(method: str) -> None:
    gaps = [
        cells[method]["mean"] - min(cell["mean"] for cell in cells.values()) for cells in metrics.PAPER_COSTS.values()
    ]
    assert metrics.PAPER_MAX_SUBOPT[method]["mean"] == pytest.approx(
        max(gaps), abs=0.08
    )  # theirs is per seed, then averaged


def test_robustness_from_the_posters_means() -> None:
    assert metrics.compute_paper_robustness() == pytest.approx({"early": 0.2793, "late": 0.2748}, abs=1e-4)


def test_columns_match_the_posters_by_task_and_user() -> None:
    assert metrics.match_paper_scenario("email/strong") == "email/strong"
    assert metrics.match_paper_scenario("prelude-summarization/weak") == "summarization/weak"
    for name in ("email/other", "email/strong-n500", "email/strong-to-weak", "code/strong"):
        assert metrics.match_paper_scenario(name) is None
