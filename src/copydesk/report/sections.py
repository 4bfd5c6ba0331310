"""What the sections of the report hold, as plain data for its templates.

Each kind of section is a class that names its template in `templates/sections/`; a `build_` function fills it from the
rounds and the results of a run, and returns `None` where there is nothing to show.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from markupsafe import Markup

from copydesk.report import plots
from copydesk.report.columns import Scenario, filter_main_scenarios, format_scenario_title
from copydesk.report.diff import Segment, compute_diff
from copydesk.report.examples import ExamplePair, format_author, format_chat_context, format_verdict, pick_examples
from copydesk.report.results import (
    Crossing,
    Sweep,
    build_user_rows,
    collect_sweeps,
    compute_cost_reduction,
    find_crossings,
    get_user_scenario,
    group_sweeps,
)
from copydesk.report.rounds import RoundRow, list_arms
from copydesk.report.style import MethodStyle, exclude_oracle, get_method_label, is_late
from copydesk.report.templating import BarView, CellView, FigureView, RowView, TableView, capitalize_first
from copydesk.report.terminal import MEASURE_FORMATS, format_cost, format_cost_reduction, format_regret

Cells = Mapping[str, Mapping[str, Any]]
"""The cells of one column of results.json, by method."""

Styles = Mapping[str, MethodStyle]
"""The style of each method the page shows, in the order of the tables."""


@dataclass(frozen=True)
class TablesSection:
    """Tables below a title."""

    template: ClassVar[str] = "tables"
    title: str
    tables: Sequence[TableView]


@dataclass(frozen=True)
class ExampleSide:
    """One response to an example's context: the method that wrote it, what its edit cost, and what the edit changed."""

    title: str
    verdict: str
    segments: Sequence[Segment]


@dataclass(frozen=True)
class ExampleView:
    """A context and its responses before and after learning; `taste` is what the user wants, empty if not recorded."""

    title: str
    taste: str
    place: str
    context: str
    sides: Sequence[ExampleSide]


@dataclass(frozen=True)
class ScenarioSection:
    """One task with one user; `notes` are pairs of a method and what it is."""

    template: ClassVar[str] = "scenario"
    title: str
    table: TableView
    figures: Sequence[FigureView]
    notes: Sequence[tuple[CellView, str]]
    examples: Sequence[ExampleView]


@dataclass(frozen=True)
class UsersSection:
    """People with different tastes: their costs, and which policy each person's ensemble played."""

    template: ClassVar[str] = "users"
    table: TableView
    figures: Sequence[FigureView]


@dataclass(frozen=True)
class ShiftSection:
    """Users met online who are not, or do not stay, those of the log; `safety` is a sentence, or empty.

    Beside the paper's tables it holds all other columns, in which users can also be those of the log.
    """

    template: ClassVar[str] = "shift"
    title: str
    intro: str
    costs: TableView
    safety: str
    regrets: TableView | None
    figures: Sequence[FigureView]


@dataclass(frozen=True)
class SweepView:
    """The curves of sweeps that share a figure, and below it, for each, where they cross in words and their figures."""

    figure: FigureView
    crossings: Sequence[tuple[str, Sequence[str]]]
    tables: Sequence[TableView]


@dataclass(frozen=True)
class SweepsSection:
    """What varies with the strength of the user, or with the size of the log."""

    template: ClassVar[str] = "sweeps"
    sweeps: Sequence[SweepView]


def build_overview_section(results: Mapping[str, Any], shown: Styles) -> TablesSection:
    """Build the table of all plain columns side by side, with Max SubOpt."""
    columns = _group_by_title(results, filter_main_scenarios(results["columns"]))
    caption = (
        "Mean edit cost ± standard deviation over seeds. Max SubOpt is the largest gap to the best method of a column."
    )
    table = build_costs_table(caption, columns | {"Max SubOpt": results["max_subopt"]}, shown)
    return TablesSection("All tasks and users", [table])


def _group_by_title(results: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Cells]:
    return {format_scenario_title(column): results["cells"][column] for column in columns}


def build_costs_table(caption: str, columns: Mapping[str, Cells], shown: Styles) -> TableView:
    """A row for each method, a column of mean costs for each title."""
    rows = [
        RowView(CellView(method=method), [build_cost_cell(cells, method) for cells in columns.values()])
        for method in shown
        if any(method in cells for cells in columns.values())
    ]
    return TableView(caption, ["Method", *columns], rows)


def build_cost_cell(cells: Cells, method: str, below: str = "", bar: BarView | None = None) -> CellView:
    """A method's mean cost, in bold where it is the lowest of those one could choose; a dash where it did not play."""
    if method not in cells:
        return CellView("–", below=below)
    lowest = min((cells[name]["mean"] for name in exclude_oracle(cells)), default=0.0)
    return CellView(format_cost(cells[method]), best=cells[method]["mean"] == lowest, below=below, bar=bar)


def build_scenario_section(
    column: str, rounds: Sequence[RoundRow], results: Mapping[str, Any], shown: Styles
) -> ScenarioSection:
    """Build the table, plots and examples of one task with one user."""
    cells = results["cells"][column]
    return ScenarioSection(
        title=format_scenario_title(column),
        table=_build_methods_table(cells),
        figures=_plot_scenario(rounds, list(cells), shown),
        notes=[(CellView(method=name), f"{capitalize_first(shown[name].note)}.") for name in cells if shown[name].note],
        examples=_build_examples(rounds, results),
    )


def _build_methods_table(cells: Cells) -> TableView:
    """The methods of a column with cost, change against the base model, and the other measures."""
    highest = max(cell["mean"] for cell in cells.values()) or 1.0
    measures = [name for name in MEASURE_FORMATS if any(name in cell for cell in cells.values())]
    rows = []
    for method, cell in cells.items():
        cost = build_cost_cell(cells, method, bar=BarView(cell["mean"] / highest, method))
        others = [MEASURE_FORMATS[name][1].format(cell[name]) if name in cell else "–" for name in measures]
        rows.append(RowView(CellView(method=method), [cost, format_cost_reduction(cells, method), *others]))
    head = ["Method", "Edit cost", "Against base", *(MEASURE_FORMATS[name][0] for name in measures)]
    return TableView("Means over all rounds; lower cost is better, and the lowest is set in bold.", head, rows)


def _plot_scenario(rounds: Sequence[RoundRow], methods: Sequence[str], shown: Styles) -> list[FigureView]:
    window = f"the last {plots.choose_rolling_window(rounds)} rounds"
    arms = list(dict.fromkeys(list_arms(rounds).values()))
    figures = [
        make_figure(
            "Edit cost over the rounds", f"Mean of {window}. Lower is better.", plots.plot_cost_over_rounds(rounds)
        )
    ]
    for late in filter(is_late, methods):
        name, title = ("the late ensemble", "") if late == "late" else (shown[late].label, f": {shown[late].label}")
        note = f"Which policy {name} played: share of {window}."
        figures.append(make_figure(f"Pulls of each arm{title}", note, plots.plot_pulls_over_rounds(rounds, late), arms))
    informed = "only the oracle sees" if "oracle" in methods else "no policy sees"
    note = f"What people want depends on the kind of document, which {informed}."
    figures.append(make_figure("Edit cost by kind of document", note, plots.plot_cost_by_kind(rounds), methods))
    return figures


def make_figure(title: str, note: str, svg: str, legend: Sequence[str] = ()) -> FigureView:
    """A figure from the `<svg>` element of a plot."""
    return FigureView(title, note, Markup(svg), legend)


def _build_examples(rounds: Sequence[RoundRow], results: Mapping[str, Any]) -> list[ExampleView]:
    saved = compute_cost_reduction(results)
    arms = list_arms(rounds)
    return [_build_example(example, arms) for example in (pick_examples(rounds, saved.method) if saved else [])]


def _build_example(example: ExamplePair, arms: Mapping[str, str]) -> ExampleView:
    after = example.after
    return ExampleView(
        title=capitalize_first(plots.format_kind(str(after["kind"]))),
        taste=after["taste"] if isinstance(after.get("taste"), str) else "",
        place=f"round {after['t']}, seed {after['seed']}",
        context=format_chat_context(after["context"]),
        sides=[_build_example_side("Before", example.before, arms), _build_example_side("After", after, arms)],
    )


def _build_example_side(when: str, played: RoundRow, arms: Mapping[str, str]) -> ExampleSide:
    return ExampleSide(
        title=f"{when}: {format_author(played, arms)}",
        verdict=capitalize_first(format_verdict(played)),
        segments=compute_diff(str(played["response"]), str(played["edit"])),
    )


def build_users_section(
    rounds: Mapping[str, Sequence[RoundRow]], results: Mapping[str, Any], shown: Styles
) -> UsersSection:
    """Build the table of all people, their costs as bars, and which policy each person's ensemble played.

    `rounds` are grouped by column.
    """
    users = build_user_rows(results)
    methods = results["methods"]
    rows = []
    for user in users:
        costs = [build_cost_cell(user.cells, method) for method in methods]
        regret = "–" if user.regret is None else format_cost(user.regret)
        rows.append(RowView(user.name, [user.edits, user.taste, *costs, regret]))
    caption = (
        "Mean edit cost of a round, the lowest in bold; the row for everybody weighs each person equally. Regret: the "
        "late ensemble's total cost minus that of the better of its two policies; for everybody it is the sum."
    )
    head = ["Person", "Edits", "Taste shared with", *(shown[method].label for method in methods), "Regret"]
    note = "Everybody edits the same documents. Lower is better."
    figures = [make_figure("Edit cost of each person", note, plots.plot_cost_by_user(users[:-1]), methods)]
    for user in users[:-1]:
        played = rounds[get_user_scenario(results, user.name)]
        window = plots.choose_rolling_window(played)
        note = f"Which policy the late ensemble played: share of the last {window} rounds."
        for late in filter(is_late, methods):
            svg = plots.plot_pulls_over_rounds(played, late)
            figures.append(make_figure(f"{user.name}, {user.edits} edits", note, svg, ["shared", "own"]))
    return UsersSection(TableView(caption, head, rows), figures)


def build_shift_section(
    columns: Sequence[Scenario], rounds: Mapping[str, Sequence[RoundRow]], results: Mapping[str, Any], shown: Styles
) -> ShiftSection | None:
    """Build what these `columns` cost, shifted or not, and the regret of each late ensemble in them.

    `rounds` are grouped by column.
    """
    if not columns:
        return None
    regret = results.get("regret", {})
    cells = _group_by_title(results, [column.name for column in columns])
    if "max_subopt_all" in results:
        cells["Max SubOpt, all columns"] = results["max_subopt_all"]
    caption = "Mean edit cost ± standard deviation over seeds. Max SubOpt is over these columns and those above."
    title = "Users who are not those of the log"
    intro = (
        "The policies were trained on one user's edits; online they meet somebody else, or the user changes halfway."
    )
    if any(column.is_plain for column in columns):
        title, intro = (
            "Other users",
            "Users who are in none of the paper's tables: they err, change, or want other things.",
        )
    return ShiftSection(
        title=title,
        intro=intro,
        costs=build_costs_table(caption, cells, shown),
        safety=_describe_safety(results.get("robustness_all", {})),
        regrets=build_regrets_table((column.title, regret.get(column.name, {})) for column in columns),
        figures=[_plot_shift(column, rounds[column.name]) for column in columns if column.name in regret],
    )


def _describe_safety(robustness: Cells) -> str:
    """What the ensembles' Max SubOpt over all columns is, in one sentence."""
    if not robustness:
        return ""
    figures = ", ".join(f"{get_method_label(name).lower()} {format_cost(cell)}" for name, cell in robustness.items())
    return f"Max SubOpt over all columns, divided by that of the best method of a single feedback: {figures}."


def build_regrets_table(regrets: Iterable[tuple[str, Cells]]) -> TableView | None:
    """The regret of each late ensemble, grouped by the title of the column; `None` where none played."""
    rows = []
    for title, cells in regrets:
        for place, (method, cell) in enumerate(cells.items()):
            head = None if place else title
            rows.append(RowView(head, [CellView(method=method), *format_regret(cell)], span=len(cells)))
    caption = (
        "Regret: the total cost of a late ensemble minus that of the best single arm in hindsight, which answers every "
        "round of the seed. Ratio: the first total divided by the second; below 1 switching between arms paid off."
    )
    return TableView(caption, ["Scenario", "Rule", "Regret", "Ratio", "Best single arm"], rows) if rows else None


def _plot_shift(column: Scenario, rounds: Sequence[RoundRow]) -> FigureView:
    change = max(int(played["t"]) for played in rounds) // 2 if column.changes_midway else None
    note = "Regret so far, against the single arm that is the best over all rounds."
    if change is not None:
        note += f" The user changes after round {change}."
    return make_figure(column.title, note, plots.plot_regret_over_rounds(rounds, change))


def build_sweeps_section(results: Mapping[str, Any], shown: Styles) -> SweepsSection | None:
    """Build the curves of every sweep, where they cross, and a table."""
    sweeps = [_build_sweeps(group, shown) for group in group_sweeps(collect_sweeps(results))]
    return SweepsSection(sweeps) if sweeps else None


def _build_sweeps(sweeps: Sequence[Sweep], shown: Styles) -> SweepView:
    note = "Mean edit cost, with a band of one standard deviation over seeds. Lower is better."
    first, crossing_title = sweeps[0], "Where two methods cross"
    if len(sweeps) == 1:
        figure = make_figure(first.title, note, plots.plot_cost_over_sweep(first))
        titles = [crossing_title]
    else:
        logs = [capitalize_first(sweep.scenario.log_title) if sweep.scenario else sweep.title for sweep in sweeps]
        task = first.scenario.task_title if first.scenario else first.title
        svg = plots.plot_cost_over_sweeps(sweeps, logs)
        figure = FigureView(f"{task}, by the edits in the log", note, Markup(svg), wide=True)
        titles = [f"{crossing_title}: {log}" for log in logs]
    crossings = [[_describe_crossing(sweep, crossing, shown) for crossing in find_crossings(sweep)] for sweep in sweeps]
    return SweepView(
        figure=figure,
        crossings=[(title, words) for title, words in zip(titles, crossings, strict=True) if words],
        tables=[_build_sweep_table(sweep, shown) for sweep in sweeps],
    )


def _build_sweep_table(sweep: Sweep, shown: Styles) -> TableView:
    rows = [
        RowView(sweep.format_value(value), [build_cost_cell(cells, method) for method in sweep.methods])
        for value, cells in sweep.cells.items()
    ]
    caption = f"{sweep.title}: mean edit cost ± standard deviation over seeds."
    return TableView(caption, [sweep.symbol, *(shown[method].label for method in sweep.methods)], rows)


def _describe_crossing(sweep: Sweep, crossing: Crossing, shown: Styles) -> str:
    at = f"{crossing.value:,.0f}" if sweep.symbol == "n" else f"{crossing.value:.2f}"
    one, other, cheaper = (shown[name].label for name in (crossing.first, crossing.second, crossing.cheaper))
    return f"{one} and {other} cross at {sweep.symbol}\u00a0≈\u00a0{at}; beyond that {cheaper} is cheaper"
