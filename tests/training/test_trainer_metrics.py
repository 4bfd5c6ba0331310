import math

import pytest
import torch

from copydesk.training.objectives import RowMetrics, compute_early_ensemble_loss
from copydesk.training.trainer import METRIC_NAMES, RunningMeans

NAN = math.nan


def of(margin: list[float], edit: list[float]) -> RowMetrics:
    return {"margin": torch.tensor(margin), "logp/edit": torch.tensor(edit)}


def test_the_names_are_what_the_objectives_give_sorted() -> None:
    rows, edited = torch.zeros(2), torch.tensor([True, False])
    _, metrics = compute_early_ensemble_loss(
        rows, rows, rows, rows, edited, beta=0.1, lambda_sup=1.0, lambda_cost=1.0, costs=rows
    )
    assert list(METRIC_NAMES) == sorted(metrics)


def test_means_are_weighted_and_over_the_rows_that_say_something() -> None:
    means = RunningMeans()
    means.add(of([1.0, NAN, 4.0], [-1.0, -2.0, -3.0]), torch.tensor([1.0, 5.0, 2.0]))
    means.add(of([NAN], [-10.0]), torch.tensor([0.5]))
    assert means.means() == pytest.approx({"margin": 9 / 3, "logp/edit": -(1 + 10 + 6 + 5) / 8.5})


def test_a_name_that_no_row_speaks_of_is_left_out() -> None:
    means = RunningMeans()
    assert means.means() == {}
    means.add(of([NAN, NAN], [-1.0, -3.0]), torch.ones(2))
    assert means.means() == {"logp/edit": -2.0}


@pytest.mark.parametrize("held", [7.0, math.inf, NAN])
def test_a_row_of_weight_zero_is_no_row(held: float) -> None:
    means = RunningMeans()
    means.add(of([held, 2.0], [held, -2.0]), torch.tensor([0.0, 1.0]))
    assert means.means() == {"margin": 2.0, "logp/edit": -2.0}


def test_an_infinite_figure_shows() -> None:
    means = RunningMeans()
    means.add(of([1.0], [-math.inf]), torch.ones(1))
    assert means.means()["logp/edit"] == -math.inf


def test_totals_of_two_processes_add_up_even_where_one_lacks_a_name() -> None:
    one, other, both = RunningMeans(), RunningMeans(), RunningMeans()
    for means in (one, both):
        means.add(of([1.0, 3.0], [-1.0, -2.0]), torch.tensor([1.0, 3.0]))
    for means in (other, both):
        means.add({"logp/edit": torch.tensor([-4.0, -5.0])}, torch.tensor([2.0, 1.0]))
    assert one.totals().shape == other.totals().shape == RunningMeans().totals().shape
    assert one.means(one.totals() + other.totals()) == pytest.approx(both.means())


def test_totals_do_not_change_once_taken() -> None:
    means = RunningMeans()
    means.add(of([1.0], [-1.0]), torch.ones(1))
    totals = means.totals()
    means.clear()
    assert means.means() == {}
    assert means.means(totals) == {"margin": 1.0, "logp/edit": -1.0}


def test_clearing_resets_all_totals() -> None:
    means = RunningMeans()
    means.add(of([1.0], [-1.0]), torch.ones(1))
    means.clear()
    means.add(of([5.0], [-9.0]), torch.ones(1))
    assert means.means() == {"margin": 5.0, "logp/edit": -9.0}


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="tuple"):
        RunningMeans().add({"mood": torch.ones(1)}, torch.ones(1))
