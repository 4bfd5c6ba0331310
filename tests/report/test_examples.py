"""Picking examples."""

from collections.abc import Callable
from typing import Any

from copydesk.report.examples import format_chat_context, pick_examples

MakeRounds = Callable[..., list[dict[str, Any]]]


def pair(t: int, kind: str, saved: float, context: str = "x") -> list[dict[str, Any]]:
    place = {"seed": 0, "t": t, "task": "email", "user": "weak", "kind": kind}
    return [
        {**place, "method": "base", "context": "x", "cost": 1.0},
        {**place, "method": "late", "context": context, "cost": 1.0 - saved},
    ]


def test_ordinary_examples_of_each_kind_are_picked_in_turn() -> None:
    savings = {"a": [0.9, 0.1, 0.5, 0.55, 0.2], "b": [0.3]}
    rounds: list[dict[str, Any]] = []
    for kind, values in savings.items():
        for saved in values:
            rounds += pair(len(rounds), kind, saved)
    examples = pick_examples(rounds, "late")
    assert [example.after["kind"] for example in examples] == ["a", "b", "a"]
    assert [round(example.cost_reduction, 2) for example in examples] == [0.5, 0.3, 0.55]


def test_both_sides_answer_the_same_context(make_rounds: MakeRounds) -> None:
    for example in pick_examples(make_rounds(["email/weak", "email/strong"], [0, 1], 20), "late", n=8):
        assert example.before["context"] == example.after["context"]
        assert (example.before["user"], example.before["seed"]) == (example.after["user"], example.after["seed"])


def test_rounds_with_different_contexts_make_no_example() -> None:
    assert pick_examples(pair(1, "a", 0.5, context="another"), "late") == []


def test_chat_contexts_become_text() -> None:
    assert format_chat_context("plain") == "plain"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert format_chat_context(messages) == "system: Be brief.\n\nuser: Hi"
