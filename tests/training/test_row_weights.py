import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.training.row_weights import compute_row_weights, parse_row_weighting

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


def record(name: str, *, edit: str | None = "b", **fields: Any) -> EditRecord:
    return EditRecord(id=name, context="x", response="a", edit=edit, **fields)


def test_every_user_weighs_the_same_in_total() -> None:
    rows = [record("1", user="ann"), record("2", user="ann"), record("3", user="ann"), record("4", user="bob")]
    weights = compute_row_weights(rows, "user")
    assert weights == pytest.approx({"1": 2 / 3, "2": 2 / 3, "3": 2 / 3, "4": 2.0})


def test_recency_halves_every_so_many_days() -> None:
    rows = [record(str(age), created_at=NOON - timedelta(days=age)) for age in (14, 0, 7)]
    weights = compute_row_weights(rows, "recency:7")
    assert weights == pytest.approx({"14": 3 / 7, "0": 12 / 7, "7": 6 / 7})


def test_recency_counts_parts_of_days() -> None:
    rows = [record("old", created_at=NOON - timedelta(hours=6)), record("new", created_at=NOON)]
    weights = compute_row_weights(rows, "recency:0.25")
    assert weights["new"] == pytest.approx(2 * weights["old"])


def test_a_log_older_than_any_half_life_keeps_its_newest_row() -> None:
    rows = [record("old", created_at=NOON - timedelta(days=9999)), record("new", created_at=NOON)]
    assert compute_row_weights(rows, "recency:0.001") == {"old": 0.0, "new": 2.0}


def test_a_field_is_taken_as_it_is_but_for_scale() -> None:
    rows = [record("1", metadata={"w:1": 0}), record("2", metadata={"w:1": 10.0}), record("3", metadata={"w:1": 20})]
    assert compute_row_weights(rows, "field:w:1") == pytest.approx({"1": 0.0, "2": 1.0, "3": 2.0})


def test_pending_rows_have_no_part() -> None:
    rows = [record("late", edit=None), record("1", user="ann"), record("later", edit=None, user="ann")]
    assert compute_row_weights(rows, "user") == {"1": 1.0}
    assert compute_row_weights(rows[:1], "user") == {}


@given(st.lists(st.floats(0, 1.7e308), min_size=1).filter(any))
def test_weights_are_one_on_average_and_keep_their_ratios(values: list[float]) -> None:
    rows = [record(str(i), metadata={"w": value}) for i, value in enumerate(values)]
    weights = list(compute_row_weights(rows, "field:w").values())
    assert math.fsum(weights) / len(weights) == pytest.approx(1.0)
    largest = max(range(len(values)), key=values.__getitem__)
    for value, weight in zip(values, weights, strict=True):
        assert weight / weights[largest] == pytest.approx(value / values[largest])


@pytest.mark.parametrize(
    "spec", ["", "users", "user:", "user:ann", "recency", "recency:", "recency:0", "recency:-1", "recency:week"]
)
def test_an_unknown_weighting_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match="not one of user, recency:DAYS"):
        parse_row_weighting(spec)
    with pytest.raises(InputError, match=f"'{spec}'"):
        compute_row_weights([record("1")], spec)


@pytest.mark.parametrize("spec", ["recency:inf", "recency:nan", "field", "field:"])
def test_a_weighting_without_its_value_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match="not one of"):
        parse_row_weighting(spec)


@pytest.mark.parametrize("spec", ["user", "recency:7", "field:stars"])
def test_a_row_that_lacks_what_it_is_weighed_by_is_named(spec: str) -> None:
    whole = record("whole", user="ann", created_at=NOON, metadata={"stars": 1})
    with pytest.raises(InputError, match="row 'bare'") as error:
        compute_row_weights([whole, record("bare")], spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["5", True, None, [1], -0.5, math.inf, math.nan, 10**400])
def test_a_field_that_is_no_weight_is_named(value: object) -> None:
    with pytest.raises(InputError, match=r"row 'r': metadata\['stars'\] is "):
        compute_row_weights([record("r", metadata={"stars": value})], "field:stars")


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(InputError, match="all 2 rows have weight 0"):
        compute_row_weights([record("1", metadata={"w": 0}), record("2", metadata={"w": 0.0})], "field:w")
