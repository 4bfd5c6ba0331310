"""Whom a policy learned from: one can ask about a person, and read nothing of anybody."""

from typing import Any

import pytest

from copydesk.data.record import EditRecord
from copydesk.models.load import ModelInfo
from copydesk.training.config import TrainConfig
from copydesk.training.encode import encode_log
from copydesk.training.policy_file import HashedUsers, read_policy_file
from copydesk.training.train import build_policy_file


def test_each_user_is_one_of_them_and_nobody_else() -> None:
    people = HashedUsers.from_names(["ann", None, "bob", "ann", None], "salt")
    assert people.contains("ann")
    assert people.contains("bob")
    assert not any(people.contains(other) for other in ("", "Ann", "ann ", "an", "cy"))
    assert (len(people.users), people.unnamed) == (2, 2)


def test_what_is_written_names_nobody_and_depends_on_the_log() -> None:
    names = ["ann", "bob", "cyd"]
    people = HashedUsers.from_names(names, "salt")
    assert not any(name in people.model_dump_json() for name in names)
    assert people == HashedUsers.from_names(reversed(names), "salt")
    assert not set(people.users) & set(HashedUsers.from_names(names, "another").users)


def test_a_user_of_any_name_is_found() -> None:
    names = ["é", "e\u0301", "x" * 5000, "\u2028", "a/b"]
    people = HashedUsers.from_names(names, "salt")
    assert len(people.users) == 5
    assert all(people.contains(name) for name in names)


@pytest.fixture
def log(records: list[EditRecord]) -> list[EditRecord]:
    named = ["ann", "bob", None, "ann"]
    rows = [row.model_copy(update={"user": name}) for row, name in zip(records, named, strict=False)]
    late = EditRecord(id="p", context="c", response="r", user="pending")
    long = EditRecord(id="l", context="c", response="r " * 500, edit="e " * 500, user="long")
    return [*rows, late, long]


def test_the_file_of_a_policy_says_whose_rows_it_was_made_from(log: Any, plain_tokenizer: Any, tmp_path: Any) -> None:
    encoded = encode_log(log, plain_tokenizer, max_length=256)
    assert (encoded.pending, encoded.left_out) == (1, 1)
    info = ModelInfo("embedded", "embedded", None, None, 1)
    build_policy_file("p", info, "ab" * 32, encoded, TrainConfig(), [], held_out=1).write(tmp_path)
    people = read_policy_file(tmp_path).data.people
    assert people is not None
    assert people.contains("ann")
    assert people.contains("bob")
    # Of these it saw nothing.
    assert not people.contains("pending")
    assert not people.contains("long")
    assert people.unnamed == 1
    assert "ann" not in (tmp_path / "policy.json").read_text()
