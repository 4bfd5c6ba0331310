"""What each of several people pays, as the tables about them show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from copydesk.report.spread import summarize_spread


@dataclass(frozen=True)
class UserRow:
    """One person, or everybody.

    Attributes:
        name: of the person.
        edits: how many they gave, as text.
        taste: how many others want the same, in words.
        cells: mean cost of a round by method, as in results.json.
        regret: of the late ensemble, summed over a seed's rounds; `None` where it did not play.
    """

    name: str
    edits: str
    taste: str
    cells: Mapping[str, Mapping[str, Any]]
    regret: Mapping[str, Any] | None


def is_personal_run(results: Mapping[str, Any]) -> bool:
    """Whether a run is about several people (`copydesk demo --personal`)."""
    return "people" in results["settings"]


def get_user_scenario(results: Mapping[str, Any], name: str) -> str:
    """The column of one of the people."""
    return f"{results['settings']['task']}/{name}"


def build_user_rows(results: Mapping[str, Any]) -> list[UserRow]:
    """A row for each person, and a last one for everybody.

    In everybody's costs each person counts alike; everybody's regret is the sum.
    """
    people = results["settings"]["people"]
    turns = [person["turn"] for person in people.values()]
    rows = []
    for name, person in people.items():
        column, others = get_user_scenario(results, name), turns.count(person["turn"]) - 1
        rows.append(
            UserRow(
                name=name,
                edits=str(person["edits"]),
                taste=f"{others} others" if others > 1 else "1 other" if others else "nobody",
                cells=results["cells"][column],
                regret=results.get("regret", {}).get(column, {}).get("late", {}).get("regret"),
            )
        )
    regrets = [row.regret["per_seed"] for row in rows if row.regret is not None]
    total = summarize_spread([sum(own) for own in zip(*regrets, strict=True)]) if regrets else None
    everybody = {method: _mean_over_users([row.cells[method] for row in rows]) for method in results["methods"]}
    return [*rows, UserRow("everybody", str(sum(person["edits"] for person in people.values())), "", everybody, total)]


def _mean_over_users(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return summarize_spread([fmean(seed) for seed in zip(*(cell["per_seed"] for cell in cells), strict=True)])
