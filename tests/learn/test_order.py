import pytest

from copydesk.learn.order import EpochOrder


def test_every_row_comes_once_and_padding_last() -> None:
    order = list(EpochOrder(row_count=10, multiple=4, seed=0))
    assert sorted(order[:10]) == list(range(10))
    assert order[10:] == [10, 10]
    assert len(EpochOrder(10, 4, 0)) == 12


@pytest.mark.parametrize("multiple", [1, 2, 5])
def test_nothing_is_padded_where_it_divides(multiple: int) -> None:
    assert sorted(EpochOrder(10, multiple, 3)) == list(range(10))


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    order = EpochOrder(50, 1, 0)
    first = list(order)
    assert list(order) == first == list(EpochOrder(50, 4, 0))[:50]
    order.set_epoch(1)
    assert list(order) != first
    assert list(EpochOrder(50, 1, 1)) != first
    order.set_epoch(0)
    assert list(order) == first
