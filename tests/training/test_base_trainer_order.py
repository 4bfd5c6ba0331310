import pytest

from copydesk.training.base_trainer import EpochSampler


def test_every_row_comes_once_and_padding_last() -> None:
    order = list(EpochSampler(row_count=10, multiple=4, seed=0))
    assert sorted(order[:10]) == list(range(10))
    assert order[10:] == [10, 10]
    assert len(EpochSampler(10, 4, 0)) == 12


@pytest.mark.parametrize("multiple", [1, 2, 5])
def test_nothing_is_padded_where_it_divides(multiple: int) -> None:
    assert sorted(EpochSampler(10, multiple, 3)) == list(range(10))


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    order = EpochSampler(50, 1, 0)
    first = list(order)
    assert list(order) == first == list(EpochSampler(50, 4, 0))[:50]
    order.set_epoch(1)
    assert list(order) != first
    assert list(EpochSampler(50, 1, 1)) != first
    order.set_epoch(0)
    assert list(order) == first
