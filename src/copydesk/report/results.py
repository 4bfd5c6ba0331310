"""The results of a run, computed from its rounds: `results.json`, cost reduction, rows of people, and sweeps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, log
from statistics import fmean
from typing import Any

from copydesk.errors import InputError
from copydesk.report.columns import (
    Scenario,
    ScenarioGroups,
    SweepSymbol,
    TableNumber,
    filter_main_scenarios,
    filter_unswept_scenarios,
    group_scenarios,
)
from copydesk.report.metrics import (
    PAPER_TABLES,
    PaperTable,
    SeedCosts,
    average_max_subopt,
    compute_largest_gaps,
    compute_robustness,
    summarize_regrets,
    summarize_spread,
)
from copydesk.report.rounds import RoundRow, check_round, get_scenario_name, list_methods
from copydesk.report.style import exclude_oracle, is_late, sort_methods

MEASURES = ("accepted", "malformed", "facts", "length", "distance", "taste", "subtoken_cost", "trimmed")
"""What a cell averages beside the cost, if rounds have it as a number or a truth value."""


def summarize_rounds(
    rounds: Iterable[RoundRow], settings: Mapping[str, Any], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Compute the content of `results.json`.

    A cell's `mean` is the mean over seeds of the mean cost of a round, `std` their sample standard deviation (0 for a
    single seed), `per_seed` the means in ascending order of the seed, and `rounds` how many rounds it is made of. The
    measures beside the cost are means over those rounds. `max_subopt` is a method's largest gap, over the columns of
    the run's main table (`filter_main_scenarios`), to the best method of the column other than the oracle, taken per
    seed and then averaged. `regret` (`summarize_regrets`) and `robustness` (`compute_robustness`) are there if methods
    for them played. `table_2` holds the `columns`, `max_subopt` and `robustness` of the paper's table 2 if it was
    played. If there are other columns than those of the main table, `max_subopt_all` and `robustness_all` are the
    same over all columns except those of sweeps.

    Args:
        rounds: of the run, of any number of columns, methods and seeds.
        settings: of the run, stored as they are.
        seconds: how long each part of the run took, stored as they are.

    Returns:
        One JSON object.

    Raises:
        InputError: there are no rounds, or one lacks a field or has a cost that is not a finite number.
    """
    by_cell: dict[tuple[str, str], dict[int, list[RoundRow]]] = {}
    played = [check_round(one, number) for number, one in enumerate(rounds, start=1)]
    if not played:
        raise InputError("there are no rounds to summarise; play at least one")
    for one in played:
        cell = by_cell.setdefault((get_scenario_name(one), str(one["method"])), {})
        cell.setdefault(int(one["seed"]), []).append(one)

    columns = list(dict.fromkeys(column for column, _ in by_cell))
    methods = list_methods(played)
    costs = {place: {seed: _mean_cost(own) for seed, own in seeds.items()} for place, seeds in by_cell.items()}
    gaps = compute_largest_gaps(costs, filter_main_scenarios(columns))
    groups = group_scenarios(columns)
    wide = compute_largest_gaps(costs, filter_unswept_scenarios(columns)) if _has_further_columns(groups) else {}
    regret, robust, robust_all = summarize_regrets(played), compute_robustness(gaps), compute_robustness(wide)
    return {
        "settings": dict(settings),
        "columns": columns,
        "methods": methods,
        "cells": {
            column: {m: _summarize_seeds(by_cell[column, m]) for m in methods if (column, m) in by_cell}
            for column in columns
        },
        "max_subopt": average_max_subopt({m: gaps[m] for m in methods if m in gaps}),
        **({"regret": regret} if regret else {}),
        **({"robustness": robust} if robust else {}),
        **({"table_2": _summarize_table(costs, groups.tables[2], methods)} if 2 in groups.tables else {}),
        **({"max_subopt_all": average_max_subopt({m: wide[m] for m in methods if m in wide})} if wide else {}),
        **({"robustness_all": robust_all} if robust_all else {}),
        "seconds": dict(seconds),
    }


def _has_further_columns(groups: ScenarioGroups) -> bool:
    """Whether columns outside of sweeps are not in the main table."""
    return bool(groups.shifted) or len(groups.tables) > 1 or (bool(groups.tables) and bool(groups.plain))


def _summarize_table(costs: SeedCosts, columns: Sequence[Scenario], methods: Sequence[str]) -> dict[str, Any]:
    names = [column.name for column in columns]
    gaps = compute_largest_gaps(costs, names)
    robust = compute_robustness(gaps)
    return {
        "columns": names,
        "max_subopt": average_max_subopt({m: gaps[m] for m in methods if m in gaps}),
        **({"robustness": robust} if robust else {}),
    }


def _mean_cost(rounds: Sequence[RoundRow]) -> float:
    return fmean(played["cost"] for played in rounds)


def _summarize_seeds(by_seed: Mapping[int, Sequence[RoundRow]]) -> dict[str, Any]:
    rounds = [played for seed in sorted(by_seed) for played in by_seed[seed]]
    cell = summarize_spread([_mean_cost(by_seed[seed]) for seed in sorted(by_seed)])
    cell["rounds"] = len(rounds)
    for name in MEASURES:
        values = [_get_measure(played, name) for played in rounds]
        known = [float(value) for value in values if isinstance(value, bool | int | float)]
        if known:
            cell[name] = fmean(known)
    return cell


def _get_measure(played: RoundRow, name: str) -> Any:
    if name == "accepted":
        return played.get("accepted", played["edit"] == played["response"])
    return played.get(name)


@dataclass(frozen=True)
class CostReduction:
    """How much less users edit with `method` than with `baseline`; `before` and `after` are means over the columns."""

    method: str
    baseline: str
    before: float
    after: float

    @property
    def share(self) -> float:
        """The share of the edit cost that was saved; negative if it grew, 0 if there was none before."""
        return 1 - self.after / self.before if self.before else 0.0

    @property
    def description(self) -> str:
        """The saving as a sentence without its capital letter, e.g. `a simulated user edits 63% less than before`."""
        user = "a simulated user edits"
        if not self.before:
            return f"{user} now, and did not before" if self.after else "nobody edited anything, before or after"
        percent = round(100 * abs(self.share))
        if percent == 0:
            return f"{user} as much as before"
        if percent == 100 and self.share > 0:
            return f"{user} almost nothing now" if self.after else f"{user} nothing any more"
        return f"{user} {percent}% {'less' if self.share > 0 else 'more'} than before"


def compute_cost_reduction(
    results: Mapping[str, Any], method: str | None = None, baseline: str = "base"
) -> CostReduction | None:
    """Compute what a method saves against the baseline, over the columns in which both played.

    These are the columns of the run's main table; others count only if there is none.

    Args:
        results: what `summarize_rounds` returns.
        method: by default the late ensemble, which has to find its policy within the rounds that are counted; if it
            did not play, the cheapest method other than the oracle.
        baseline: the method to compare with.

    Returns:
        The reduction; `None` if there is no column in which both played.
    """
    if method is None:
        others = exclude_oracle(name for name in results["methods"] if name != baseline)
        if not others:
            return None
        cheapest = {name: found.after for name in others if (found := compute_cost_reduction(results, name, baseline))}
        cheap = min(cheapest, key=cheapest.__getitem__, default=others[0])
        method = next((name for name in others if is_late(name)), cheap)
    both = [column for column, cells in results["cells"].items() if method in cells and baseline in cells]
    if not both:
        return None
    cells = [results["cells"][column] for column in filter_main_scenarios(both)]
    before, after = (fmean(cell[name]["mean"] for cell in cells) for name in (baseline, method))
    return CostReduction(method, baseline, before, after)


@dataclass(frozen=True)
class TableResults:
    """One of the paper's tables, as a run played it.

    Attributes:
        number: 1 or 2.
        columns: those that were played.
        max_subopt: Max SubOpt over these columns, by method.
        robustness: of each ensemble (`compute_robustness`), by method.
    """

    number: TableNumber
    columns: Sequence[Scenario]
    max_subopt: Mapping[str, Mapping[str, Any]]
    robustness: Mapping[str, Mapping[str, Any]]

    @property
    def title(self) -> str:
        """What the table compares, e.g. `Table 1: everybody is met by the strong user`."""
        met = "the strong user" if self.number == 1 else "another user with the same preferences"
        return f"Table {self.number}: everybody is met by {met}"

    @property
    def paper(self) -> PaperTable:
        """The paper's figures for it."""
        return PAPER_TABLES[self.number]


def collect_tables(results: Mapping[str, Any]) -> list[TableResults]:
    """Collect the paper's tables in `results.json`; none if only one column of them was played."""
    tables = group_scenarios(results["columns"]).tables
    if sum(map(len, tables.values())) < 2:
        return []
    own = {number: results if number == min(tables) else results.get("table_2", {}) for number in tables}
    return [
        TableResults(number, columns, own[number].get("max_subopt", {}), own[number].get("robustness", {}))
        for number, columns in tables.items()
    ]


def compute_regret_per_round(results: Mapping[str, Any], column: str, method: str) -> dict[str, Any]:
    """Compute the regret of a late ensemble, divided by the rounds of a seed."""
    cell = results["cells"][column][method]
    rounds = cell["rounds"] / len(cell["per_seed"])
    return summarize_spread([total / rounds for total in results["regret"][column][method]["regret"]["per_seed"]])


@dataclass(frozen=True)
class UserRow:
    """One person, or everybody.

    Attributes:
        name: of the person.
        edits: how many edits of theirs the log has, as text.
        taste: how many others want the same, in words.
        cells: mean cost of a round by method, as in `results.json`.
        regret: of the late ensemble, summed over a seed's rounds; `None` if it did not play.
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
    """Build a row for each person, and a last one for everybody.

    Everybody's costs weigh each person equally; everybody's regret is the sum.
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


@dataclass(frozen=True)
class Sweep:
    """The points of one sweep.

    Attributes:
        symbol: what is varied: p, the strength of the user, n, the number of edits in the log, or attention, the
            probability that the log's user attends to a preference.
        title: what is varied, and for which task and user.
        cells: the cells of each point by method; points by the value of what is varied, in ascending order.
        scenario: the column of one of its points.
    """

    symbol: SweepSymbol
    title: str
    cells: Mapping[float, Mapping[str, Mapping[str, Any]]]
    scenario: Scenario | None = None

    @property
    def methods(self) -> list[str]:
        """The methods that played at any point, in the order of the tables."""
        return sort_methods(method for cells in self.cells.values() for method in cells)

    def format_value(self, value: float) -> str:
        """Format the value of a point."""
        return f"{value:,.0f}" if self.symbol == "n" else f"{value:g}"

    def curve(self, method: str) -> list[tuple[float, Mapping[str, Any]]]:
        """A method's cells, each with the value of its point, at the points where it played."""
        return [(value, cells[method]) for value, cells in self.cells.items() if method in cells]


@dataclass(frozen=True)
class Crossing:
    """Where the mean costs of two methods are equal, and which of the two is cheaper beyond that."""

    first: str
    second: str
    value: float
    cheaper: str


def collect_sweeps(results: Mapping[str, Any]) -> list[Sweep]:
    """Collect the sweeps in `results.json`: one for each task and, unless p is varied, for each user."""
    points: dict[tuple[SweepSymbol, str], list[Scenario]] = {}
    for column in group_scenarios(results["columns"]).swept:
        points.setdefault(_sweep_key(column), []).append(column)
    return [
        Sweep(
            symbol,
            title,
            {c.swept_value: results["cells"][c.name] for c in sorted(columns, key=lambda column: column.swept_value)},
            columns[0],
        )
        for (symbol, title), columns in points.items()
    ]


def _sweep_key(column: Scenario) -> tuple[SweepSymbol, str]:
    """The symbol and the title of the sweep that a column is a point of."""
    if column.swept_parameter == "p":
        return "p", f"{column.task_title}, by the strength of the user"
    if column.swept_parameter == "attention":
        met = "" if column.online_user == column.log_user else f", met by the {column.online_user} user"
        return "attention", f"{column.task_title}, by the attention of the log's user{met}"
    return "n", f"{column.task_title}, {column.user_title}, by the edits in the log"


def group_sweeps(sweeps: Iterable[Sweep]) -> list[list[Sweep]]:
    """Group the sweeps that one figure shows: those over n of a task with the logs of one of the paper's tables."""
    groups: dict[object, list[Sweep]] = {}
    for sweep in sweeps:
        scenario = sweep.scenario
        shares = scenario is not None and sweep.symbol == "n" and scenario.has_table_users
        key = (scenario.task, scenario.online_user) if scenario is not None and shares else sweep.title
        groups.setdefault(key, []).append(sweep)
    return list(groups.values())


def find_crossings(sweep: Sweep) -> list[Crossing]:
    """Find where the mean costs of two methods cross, in ascending order.

    The curves are straight lines between the points of the sweep, with n on a log axis. Curves that touch without
    crossing, or that meet only at the end, do not count.
    """
    crossings = []
    for one, other in combinations(sweep.methods, 2):
        gaps = [
            (_to_axis(sweep, value), cell["mean"] - sweep.cells[value][other]["mean"])
            for value, cell in sweep.curve(one)
            if other in sweep.cells[value]
        ]
        for at, after in _find_zero_crossings(gaps):
            where = exp(at) if sweep.symbol == "n" else at
            crossings.append(Crossing(one, other, where, one if after < 0 else other))
    return sorted(crossings, key=lambda crossing: crossing.value)


def _to_axis(sweep: Sweep, value: float) -> float:
    return log(value) if sweep.symbol == "n" else value


def _find_zero_crossings(points: Sequence[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    """Yield where a line through the points changes its sign, and its value at the next point that is not 0."""
    last: tuple[float, float] | None = None
    level: float | None = None  # the first point at 0 since `last`
    for x, y in points:
        if y == 0:
            level = x if level is None else level
            continue
        if last and last[1] * y < 0:
            between = last[0] + (x - last[0]) * last[1] / (last[1] - y)
            yield (between if level is None else level), y
        last, level = (x, y), None
