from datetime import UTC, datetime
from typing import Any

import pytest

from copydesk.data.record import EditRecord
from copydesk.diagnose.quality import measure_repeated_edits
from copydesk.diagnose.statistics import EMPTY_DIGEST, RowDigests, hash_texts


def columns(*rows: tuple[str, str, float], **more: Any) -> RowDigests:
    found = RowDigests()
    for number, (response, edit, cost) in enumerate(rows, start=1):
        found.add(number, EditRecord(id=f"r{number}", context="x", response=response, edit=edit, **more), cost)
    return found


def test_a_digest_depends_on_where_one_text_ends() -> None:
    assert hash_texts("ab", "c") != hash_texts("a", "bc")
    assert hash_texts("") != EMPTY_DIGEST
    assert hash_texts("é") == hash_texts("é")


def test_costs_and_moments_keep_the_order() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    found = columns(("a", "b", 0.5), ("a", "a", 0.0), created_at=moment)
    assert found.costs.tolist() == [0.5, 0.0]
    assert found.timestamps.tolist() == [moment.timestamp()] * 2


def test_repeated_rows_are_found_whatever_their_ids() -> None:
    found = columns(("a", "b", 1), ("a", "c", 1), ("a", "b", 1), ("a", "b", 1))
    assert found.find_duplicates() == (2, [3, 4])
    assert columns(("a", "b", 1), ("b", "a", 1)).find_duplicates() == (0, [])


def test_a_text_that_is_edited_again_is_found_by_its_content() -> None:
    found = columns(("a", "b", 0.8), ("c", "d", 0.4), (" b\n", "e", 0.2), ("d", "d", 0.0))
    assert list(found.iter_repeated_edit_costs()) == [(0.8, 0.2), (0.4, 0.0)]
    again = measure_repeated_edits(found.iter_repeated_edit_costs())
    assert again is not None
    assert (again.rows, again.first, again.second) == (2, pytest.approx(0.6), pytest.approx(0.1))
    assert again.left == pytest.approx(1 / 6)


def test_an_accepted_text_that_occurs_again_is_not_a_second_edit() -> None:
    assert list(columns(("b", "b", 0.0), ("b", "c", 0.2)).iter_repeated_edit_costs()) == []


def test_a_second_edit_comes_after_its_first_one() -> None:
    assert list(columns(("b", "c", 0.2), ("a", "b", 0.8)).iter_repeated_edit_costs()) == []


def test_empty_texts_are_no_link() -> None:
    assert list(columns(("a", "", 1.0), ("", "b", 1.0)).iter_repeated_edit_costs()) == []


def test_a_parent_named_in_the_metadata_is_a_link() -> None:
    found = RowDigests()
    found.add(1, EditRecord(id="first", context="x", response="a", edit="b"), 0.5)
    second = EditRecord(id="second", context="x", response="B!", edit="c", metadata={"parent": "first"})
    found.add(2, second, 0.25)
    found.add(3, EditRecord(id="third", context="x", response="z", edit="c", metadata={"parent": "unknown"}), 0.25)
    assert list(found.iter_repeated_edit_costs()) == [(0.5, 0.25)]


def test_a_log_without_second_edits_has_no_measurement_of_them() -> None:
    assert measure_repeated_edits([]) is None
    free = measure_repeated_edits([(0.0, 0.5)])
    assert free is not None
    assert free.left is None
