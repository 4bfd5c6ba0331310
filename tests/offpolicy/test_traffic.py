from datetime import UTC, datetime

import pytest

from copydesk.errors import InputError


def test_the_latest_edit_counts_and_answers_without_one_are_pending(log) -> None:
    log.arm("a", "embedded")
    log.answer("a", 1.0, 0.5, 0.25)
    log.answer("a", 1.0)
    traffic = log.read()
    (row,) = traffic.rows
    assert (row.id, row.cost, row.policy, row.propensity, row.context) == ("c1", 0.25, "a", 1.0, "Write to c1")
    assert (row.parameters, row.finish_reason, row.tokens) == ({"temperature": 0.7}, "stop", None)
    assert (traffic.pending, traffic.specs, traffic.metric) == ({"a": 1}, {"a": "embedded"}, "metric")


def test_a_row_knows_who_could_have_answered(log) -> None:
    log.arm("a")
    log.answer("a", 1.0, 0.1)
    log.arm("b")
    log.answer("b", 0.5, 0.1)
    log.answer("a", 1.0, 0.1, without=["b"])
    log.answer("b", 1.0, 0.1, chosen=False)
    log.arm("a", action="retire")
    log.answer("b", 1.0, 0.1)
    assert [sorted(row.available_arms) for row in log.read().rows] == [["a"], ["a", "b"], ["a"], [], ["b"]]


def test_rows_are_chosen_by_user_and_time(log) -> None:
    log.arm("a")
    log.answer("a", 1.0, 0.1, user="bob")
    log.answer("a", 1.0, 0.1)
    log.answer("a", 1.0)
    assert [row.id for row in log.read(user="bob").rows] == ["c1"]
    late = log.read(since=datetime.fromtimestamp(2, UTC))
    assert [row.id for row in late.rows] == ["c2"] and late.pending == {"a": 1}


def test_costs_of_several_metrics_are_not_averaged(log) -> None:
    log.arm("a")
    log.answer("a", 1.0, 0.1, metric="words")
    log.answer("a", 1.0, 0.1, metric="words")
    log.answer("a", 1.0, 9.0, metric="seconds")
    with pytest.raises(InputError, match=r"with 2 metrics, words \(2 rows\), seconds \(1 rows\)"):
        log.read()
    assert log.read(since=datetime.fromtimestamp(3, UTC)).metric == "seconds"


def test_a_developer_message_becomes_a_system_message(log) -> None:
    log.arm("a")
    turns = [{"role": "developer", "content": "Be kind"}, {"role": "user", "content": "Hi", "name": "ann"}]
    log.answer("a", 1.0, 0.1, messages=turns)
    (row,) = log.read().rows
    assert [turn.model_dump() for turn in row.context] == [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hi"},
    ]
