"""Columns that differ in one number only: how strong the user is, or how many edits the log has."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, log
from typing import Any, Literal

from copydesk.report.columns import Scenario, parse_scenario
from copydesk.report.style import sort_methods


@dataclass(frozen=True)
class Sweep:
    """The points of one sweep.

    Attributes:
        symbol: p, the strength of the user, or n, the number of edits in the log.
        title: what it is a sweep of, for people.
        cells: the results of each point, by its p or n, in ascending order: method to cell.
    """

    symbol: Literal["n", "p"]
    title: str
    cells: Mapping[float, Mapping[str, Mapping[str, Any]]]

    @property
    def methods(self) -> list[str]:
        """The methods that played somewhere, in the order of the tables."""
        return sort_methods(method for cells in self.cells.values() for method in cells)

    def format_value(self, value: float) -> str:
        """A p or n for people."""
        return f"{value:,.0f}" if self.symbol == "n" else f"{value:g}"

    def curve(self, method: str) -> list[tuple[float, Mapping[str, Any]]]:
        """A method's cells, each with its p or n, where it played."""
        return [(value, cells[method]) for value, cells in self.cells.items() if method in cells]


@dataclass(frozen=True)
class Crossing:
    """Where the mean cost of two methods is the same, and which of them is cheaper beyond that."""

    first: str
    second: str
    value: float
    cheaper: str


def collect_sweeps(results: Mapping[str, Any]) -> list[Sweep]:
    """The sweeps in results.json: one for each task and, where n is varied, for each user."""
    points: dict[tuple[str, str], list[Scenario]] = {}
    for column in map(parse_scenario, results["columns"]):
        if column.swept_parameter:
            points.setdefault(_sweep_key(column), []).append(column)
    return [
        Sweep(
            columns[0].swept_parameter or "n",
            title,
            {_swept_value(c): results["cells"][c.name] for c in sorted(columns, key=_swept_value)},
        )
        for (_, title), columns in points.items()
    ]


def _sweep_key(column: Scenario) -> tuple[str, str]:
    """What tells sweeps apart: what is varied, and of what."""
    if column.swept_parameter == "p":
        return "p", f"{column.task_title}, by the strength of the user"
    return "n", f"{column.task_title}, {column.user_title}, by the edits in the log"


def _swept_value(column: Scenario) -> float:
    return float(column.edits if column.edits is not None else column.strength or 0.0)


def find_crossings(sweep: Sweep) -> list[Crossing]:
    """Where the mean costs of two methods cross, in ascending order.

    Between the points of a sweep lie straight lines, n on a log axis. Curves that touch without crossing, or that meet
    only at the end, do not count.
    """
    found = []
    for one, other in combinations(sweep.methods, 2):
        gaps = [
            (_to_axis(sweep, value), cell["mean"] - sweep.cells[value][other]["mean"])
            for value, cell in sweep.curve(one)
            if other in sweep.cells[value]
        ]
        for at, after in _find_zero_crossings(gaps):
            where = exp(at) if sweep.symbol == "n" else at
            found.append(Crossing(one, other, where, one if after < 0 else other))
    return sorted(found, key=lambda crossing: crossing.value)


def _to_axis(sweep: Sweep, value: float) -> float:
    return log(value) if sweep.symbol == "n" else value


def _find_zero_crossings(points: Sequence[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    """Where a line through the points changes its sign, and its value at the next point that is not 0."""
    last: tuple[float, float] | None = None
    level: float | None = None  # the first of the points at 0 since the last one that was not
    for x, y in points:
        if y == 0:
            level = x if level is None else level
            continue
        if last and last[1] * y < 0:
            between = last[0] + (x - last[0]) * last[1] / (last[1] - y)
            yield (between if level is None else level), y
        last, level = (x, y), None
