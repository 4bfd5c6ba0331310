"""The rounds a report shows in full."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from statistics import median
from typing import Any

from copydesk.report.rounds import RoundRow, get_scenario_name


@dataclass(frozen=True)
class ExamplePair:
    """One context answered twice: before learning and after."""

    before: RoundRow
    after: RoundRow

    @property
    def cost_reduction(self) -> float:
        """How much less the second response was edited, in the units of the cost."""
        return float(self.before["cost"] - self.after["cost"])


def pick_examples(rounds: Iterable[RoundRow], method: str, baseline: str = "base", n: int = 3) -> list[ExamplePair]:
    """Up to `n` ordinary examples, each kind of document in turn.

    Within a kind those come first whose saving is nearest to the kind's median, so that the examples show what
    usually happens rather than the best that did.
    """
    played = list(rounds)
    before = {_example_order(one): one for one in played if one["method"] == baseline}
    by_kind: dict[str, list[ExamplePair]] = {}
    for after in played:
        match = before.get(_example_order(after))
        if after["method"] == method and match is not None and match["context"] == after["context"]:
            by_kind.setdefault(str(after["kind"]), []).append(ExamplePair(match, after))
    for examples in by_kind.values():
        usual = median(example.cost_reduction for example in examples)
        examples.sort(key=lambda example: abs(example.cost_reduction - usual))
    in_turn = chain.from_iterable(zip_longest(*by_kind.values()))
    return [example for example in in_turn if example is not None][:n]


def _example_order(played: RoundRow) -> tuple[str, int, int]:
    return get_scenario_name(played), int(played["seed"]), int(played["t"])


def format_chat_context(context: str | Iterable[Mapping[str, Any]]) -> str:
    """A context as text: as it is, or chat messages one below the other."""
    if isinstance(context, str):
        return context
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in context)
