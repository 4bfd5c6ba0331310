from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from copydesk.data import EditRecord, Message


def record(**fields: Any) -> EditRecord:
    return EditRecord(**{"id": "a", "context": "c", "response": "r", **fields})


@pytest.mark.parametrize(
    ("edit", "pending", "accepted", "edited"),
    [(None, True, False, False), ("r", False, True, False), ("s", False, False, True), ("", False, False, True)],
)
def test_exactly_one_of_pending_accepted_edited(edit: str | None, pending: bool, accepted: bool, edited: bool) -> None:
    row = record(edit=edit)
    assert (row.pending, row.accepted, row.edited) == (pending, accepted, edited)


def test_an_empty_response_can_be_accepted() -> None:
    assert record(response="", edit="").accepted


def test_a_context_may_be_a_chat_and_keeps_what_else_a_message_says() -> None:
    row = record(context=[{"role": "user", "content": "hi", "name": "ann"}])
    assert row.context == (Message.model_validate({"role": "user", "content": "hi", "name": "ann"}),)
    assert row.model_dump()["context"][0]["name"] == "ann"


def test_a_record_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        record().response = "other"  # type: ignore[misc]


def test_ids_may_be_integers() -> None:
    row = record(id=7, user=8)
    assert (row.id, row.user) == ("7", "8")


def test_a_moment_without_a_zone_is_utc() -> None:
    assert record(created_at="2026-01-31T12:00:00").created_at == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": True},
        {"id": 1.5},
        {"context": []},
        {"context": [{"role": "user"}]},
        {"context": None},
        {"response": None},
        {"response": 3},
        {"edit": 3},
        {"propensity": 0},
        {"propensity": 1.01},
        {"propensity": float("nan")},
        {"propensity": True},
        {"propensity": "0.5"},
        {"created_at": "yesterday"},
        {"metadata": []},
        {"unknown": 1},
    ],
)
def test_wrong_fields_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        record(**wrong)
