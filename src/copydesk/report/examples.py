"""The rounds that a report shows in full, and how they are written for people."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from statistics import median
from typing import Any

from copydesk.report.rounds import RoundRow, get_scenario_name
from copydesk.report.style import get_method_label, is_late


@dataclass(frozen=True)
class ExamplePair:
    """Two rounds with one context: before learning and after."""

    before: RoundRow
    after: RoundRow

    @property
    def cost_reduction(self) -> float:
        """The cost before minus the cost after."""
        return float(self.before["cost"] - self.after["cost"])


def pick_examples(rounds: Iterable[RoundRow], method: str, baseline: str = "base", n: int = 3) -> list[ExamplePair]:
    """Pick up to `n` ordinary examples, one of each kind of document in turn.

    Within a kind, pairs come first whose reduction is nearest to the median of the kind: the examples show what usually
    happens, not the best that did.

    Args:
        rounds: of any number of columns, methods and seeds.
        method: that answered after learning.
        baseline: the method that answered before learning.
        n: how many examples, at most.
    """
    played = list(rounds)
    before = {_get_world(one): one for one in played if one["method"] == baseline}
    by_kind: dict[str, list[ExamplePair]] = {}
    for after in played:
        match = before.get(_get_world(after))
        if after["method"] == method and match is not None and match["context"] == after["context"]:
            by_kind.setdefault(str(after["kind"]), []).append(ExamplePair(match, after))
    for examples in by_kind.values():
        middle = median(example.cost_reduction for example in examples)
        examples.sort(key=lambda example: abs(example.cost_reduction - middle))
    in_turn = chain.from_iterable(zip_longest(*by_kind.values()))
    return [example for example in in_turn if example is not None][:n]


def _get_world(played: RoundRow) -> tuple[str, int, int]:
    """Column, seed and round: every method meets the same context there."""
    return get_scenario_name(played), int(played["seed"]), int(played["t"])


def format_chat_context(context: str | Iterable[Mapping[str, Any]]) -> str:
    """Write a context as text: as it is, or its chat messages one below the other."""
    if isinstance(context, str):
        return context
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in context)


def format_author(played: RoundRow, arms: Mapping[str, str]) -> str:
    """The label of the method that answered, and of the arm that a late ensemble played.

    Args:
        played: the round.
        arms: the method of each policy that late ensembles played (`list_arms`).
    """
    label = get_method_label(str(played["method"]))
    if not is_late(str(played["method"])):
        return label
    return f"{label}, which played {get_method_label(arms[str(played['policy'])])}"


def format_verdict(played: RoundRow) -> str:
    """Whether the response was accepted, or what its edit cost."""
    return "accepted as written" if played["edit"] == played["response"] else f"edit cost {played['cost']:.2f}"
