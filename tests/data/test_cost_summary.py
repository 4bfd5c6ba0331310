import pytest

from copydesk.data import EditCost, EditRecord
from copydesk.data.cost import COST_QUANTILES, CostSummary, summarize_costs


def records(*edits: str | None) -> list[EditRecord]:
    return [EditRecord(id=str(n), context="", response="a b c d", edit=edit) for n, edit in enumerate(edits)]


def test_pending_rows_are_counted_and_have_no_part_in_the_mean() -> None:
    log = records("a b c d", None, "a b c x", "x x x x", None, "a b x x")
    summary = summarize_costs(EditCost(unit="word").iter_costs(log))
    assert (summary.rows, summary.pending, summary.accepted, summary.edited) == (6, 2, 1, 3)
    assert summary.mean == pytest.approx((0 + 0.25 + 1 + 0.5) / 4)
    assert summary.median == pytest.approx(0.375)
    assert [level for level, _ in summary.quantiles] == list(COST_QUANTILES)
    values = [value for _, value in summary.quantiles]
    assert values == sorted(values)
    assert (values[0], values[3], values[-1]) == (0, 0.375, 1)


def test_a_log_that_is_all_pending_has_no_figures() -> None:
    assert summarize_costs(EditCost(unit="word").iter_costs(records(None, None))) == CostSummary(
        2, 2, 0, 0, None, None, ()
    )
