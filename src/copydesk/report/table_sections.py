"""The sections of the report that set a run beside the paper: its tables, Max SubOpt, and regret over the rounds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from copydesk.report import plots
from copydesk.report.columns import Scenario, filter_main_scenarios, format_scenario_title
from copydesk.report.metrics import PAPER_TABLES, PaperTable, get_paper_costs
from copydesk.report.results import TableResults, compute_regret_per_round
from copydesk.report.rounds import RoundRow
from copydesk.report.sections import Cells, Styles, TablesSection, build_cost_cell, make_figure
from copydesk.report.style import get_method_label
from copydesk.report.templating import CellView, FigureView, RowView, TableView
from copydesk.report.terminal import MAX_MEASURES, MEASURE_FORMATS, format_cost, format_regret

_PaperCells = Mapping[str, Mapping[str, float]]
"""The paper's figures in one column, by method."""

_PaperColumn = tuple[str, Cells, _PaperCells]
"""A column's title, our cells, and the paper's."""


@dataclass(frozen=True)
class RegretSection:
    """The running mean cost of the late ensembles and of their arms, and the regret at the end."""

    template: ClassVar[str] = "regret"
    table: TableView
    figures: Sequence[FigureView]


def build_table_section(table: TableResults, results: Mapping[str, Any], shown: Styles) -> TablesSection:
    """Build one of the paper's tables with the paper's figures below ours, and how safe the ensembles are.

    A table that is not the run's main one also gets the measures beside the cost; the columns of the main table show
    them in sections of their own.
    """
    columns: list[_PaperColumn] = [
        (column.table_title, results["cells"][column.name], get_paper_costs(column.name) or {})
        for column in table.columns
    ]
    met = "the strong user" if table.number == 1 else "another user, who has the same preferences in another hand"
    caption = (
        f"Policies learned from the log that the column names, and are met by {met}. Ours, and in small type the "
        "paper's: mean edit cost of a round ± standard deviation over seeds, the lowest of ours in bold. Models and "
        "users are not the paper's, so the order of the methods can be compared, and the values cannot. Max SubOpt is "
        "the largest gap to the best method of a column; it is small also where all methods are poor."
    )
    if len(table.columns) > 1:
        columns.append(("Max SubOpt", table.max_subopt, table.paper.max_subopt))
    methods = [method for method in shown if any(method in cells for _, cells, _ in columns)]
    tables = [_build_paper_table(caption, columns, methods)]
    if table.robustness:
        tables.append(_build_robustness_table(table.robustness, table.paper, "Paper"))
    if {column.name for column in table.columns}.isdisjoint(filter_main_scenarios(results["columns"])):
        tables.append(_build_measures_table(table.columns, results))
    return TablesSection(table.title, tables)


def build_paper_section(results: Mapping[str, Any]) -> TablesSection | None:
    """Build the table of the columns that the paper has as well, for a run that is not about the paper's tables."""
    columns: list[_PaperColumn] = [
        (format_scenario_title(name), results["cells"][name], theirs)
        for name in filter_main_scenarios(results["columns"])
        if (theirs := get_paper_costs(name))
    ]
    methods = [method for method in results["methods"] if method in PAPER_TABLES[1].max_subopt]
    if not columns or not methods:
        return None
    caption = (
        "Ours, and in small type the poster's: mean edit cost ± standard deviation over seeds. Models and users are "
        "not the paper's, so the order of the methods can be compared, and the values cannot."
    )
    if len(filter_main_scenarios(results["columns"])) > 1:
        columns.append(("Max SubOpt", results["max_subopt"], PAPER_TABLES[1].max_subopt))
        caption += " Max SubOpt is over all of our columns of a task and a user, and over the poster's four."
    tables = [_build_paper_table(caption, columns, methods)]
    if "robustness" in results:
        tables.append(_build_robustness_table(results["robustness"], PAPER_TABLES[1], "Poster"))
    return TablesSection("Beside the paper", tables)


def _build_paper_table(caption: str, columns: Sequence[_PaperColumn], methods: Iterable[str]) -> TableView:
    """A row for each method, a column of our costs for each of `columns`, with the paper's below."""
    rows = [
        RowView(
            CellView(method=method),
            [build_cost_cell(ours, method, below=_format_paper_cost(theirs, method)) for _, ours, theirs in columns],
        )
        for method in methods
    ]
    return TableView(caption, ["Method", *(title for title, _, _ in columns)], rows)


def _format_paper_cost(cells: _PaperCells, method: str) -> str:
    return f"{cells[method]['mean']:.2f} ± {cells[method]['std']:.2f}" if method in cells else ""


def _build_robustness_table(robustness: Cells, paper: PaperTable, source: str) -> TableView:
    """How much smaller an ensemble's Max SubOpt is than that of a method with one kind of feedback."""
    caption = (
        "How safe an ensemble is when the user is not known in advance: its Max SubOpt divided by that of the best "
        "method that learns from a single kind of feedback (SFT, DPO or RL). Below 1 the ensemble is safer."
    )
    rows = [
        RowView(CellView(method=method), [format_cost(cell), f"{paper.robustness[method]:.2f}"])
        for method, cell in robustness.items()
    ]
    return TableView(caption, ["Ensemble", "Ours", source], rows)


def _build_measures_table(columns: Sequence[Scenario], results: Mapping[str, Any]) -> TableView:
    """The cost and the measures beside it of every method in every column, grouped by column."""
    cells = [(column, results["cells"][column.name]) for column in columns]
    known = {name for _, own in cells for cell in own.values() for name in cell}
    measures = [name for name in MEASURE_FORMATS if name in known][:MAX_MEASURES]
    rows = []
    for column, own in cells:
        for place, (method, cell) in enumerate(own.items()):
            others = [MEASURE_FORMATS[name][1].format(cell[name]) if name in cell else "–" for name in measures]
            row: list[CellView | str] = [CellView(method=method), build_cost_cell(own, method), *others]
            rows.append(RowView(None if place else column.table_title, row, span=len(own)))
    head = ["Column", "Method", "Edit cost", *(MEASURE_FORMATS[name][0] for name in measures)]
    return TableView("What lies behind the costs: means over all rounds.", head, rows)


def build_regret_section(
    columns: Iterable[Scenario], rounds: Mapping[str, Sequence[RoundRow]], results: Mapping[str, Any]
) -> RegretSection | None:
    """Build the paper's figure 2 for `columns`, and the regret at the end; `None` where no late ensemble has one.

    `rounds` are grouped by column.
    """
    regret = results.get("regret", {})
    rows, figures = [], []
    for column in (column for column in columns if column.name in regret):
        cells, played = results["cells"][column.name], rounds[column.name]
        ends = []
        for place, (method, own) in enumerate(regret[column.name].items()):
            _, ratio, best = format_regret(own)
            per_round = format_cost(compute_regret_per_round(results, column.name, method), digits=3)
            row: list[CellView | str] = [
                CellView(method=method),
                build_cost_cell(cells, method),
                best,
                per_round,
                ratio,
            ]
            head = CellView(column.table_title, below=f"met by the {column.online_user} user")
            rows.append(RowView(None if place else head, row, span=len(regret[column.name])))
            ends.append(f"{get_method_label(method)}: regret {per_round} a round, against {best}.")
        note = f"Mean cost of all rounds so far, from round {plots.get_running_start(played)}. {' '.join(ends)}"
        figures.append(make_figure(column.title, note, plots.plot_running_cost(played)))
    caption = (
        "Regret: the mean cost of a late ensemble minus that of the best single arm in hindsight, which answers every "
        "round of the seed; ± standard deviation over seeds. Ratio: the first cost divided by the second."
    )
    titles = ["Column", "Rule", "Edit cost", "Best single arm", "Regret per round", "Ratio"]
    return RegretSection(TableView(caption, titles, rows), figures) if rows else None
