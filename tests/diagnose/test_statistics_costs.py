import numpy as np

from copydesk.data import EditCost, EditRecord
from copydesk.data.cost import summarize_costs
from copydesk.diagnose.statistics import HISTOGRAM_BINS, compute_cost_distribution, get_quantile


def test_the_histogram_holds_every_row_and_the_highest_costs_in_its_last_bar() -> None:
    log = [EditRecord(id=str(n), context="", response="a b c d", edit="a b c d"[: 2 * n - 1]) for n in range(1, 5)]
    log += [EditRecord(id="dear", context="", response="a", edit="b " * 50)]
    metric = EditCost(unit="word")
    costed = list(metric.iter_costs(log))
    costs = compute_cost_distribution(metric.name, summarize_costs(costed), np.array([cost for _, cost in costed]))
    assert sum(costs.bars) == 5
    assert len(costs.bars) == HISTOGRAM_BINS
    assert costs.edges[0] == 0
    assert costs.bars[0] == 4
    assert costs.bars[-1] == 1
    assert costs.mean is not None
    assert get_quantile(costs, 1.0) == 50


def test_costs_that_are_all_0_have_a_histogram_too() -> None:
    log = [EditRecord(id="a", context="", response="a", edit="a")]
    costs = compute_cost_distribution("m", summarize_costs(EditCost(unit="word").iter_costs(log)), np.array([0.0]))
    assert costs.bars[0] == 1


def test_a_log_that_is_all_pending_has_no_costs() -> None:
    log = [EditRecord(id="a", context="", response="a")]
    costs = compute_cost_distribution("m", summarize_costs(EditCost(unit="word").iter_costs(log)), np.array([]))
    assert (costs.bars, costs.mean, get_quantile(costs, 0.99)) == ((), None, 0.0)
