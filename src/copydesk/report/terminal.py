"""Tables and examples of a run for the terminal."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from copydesk.report.columns import (
    filter_main_scenarios,
    filter_unswept_scenarios,
    format_scenario_title,
    group_scenarios,
    parse_scenario,
)
from copydesk.report.diff import render_diff_plain, render_diff_rich
from copydesk.report.examples import format_author, format_chat_context, format_verdict, pick_examples
from copydesk.report.metrics import get_paper_costs
from copydesk.report.results import (
    Sweep,
    TableResults,
    build_user_rows,
    collect_sweeps,
    collect_tables,
    compute_cost_reduction,
    compute_regret_per_round,
    is_personal_run,
)
from copydesk.report.rounds import RoundRow, list_arms
from copydesk.report.style import exclude_oracle, get_method_label
from copydesk.report.templating import capitalize_first

MEASURE_FORMATS = {
    "subtoken_cost": ("Sub-token cost", "{:.2f}"),
    "accepted": ("Accepted", "{:.0%}"),
    "facts": ("Facts right", "{:.1%}"),
    "malformed": ("Malformed", "{:.1%}"),
    "trimmed": ("Cut at a repeat", "{:.1%}"),
    "length": ("Length", "{:.0f}"),
    "distance": ("Distance to taste", "{:.2f}"),
}
"""The measures that tables show beside the cost, with title and format."""

MAX_COLUMNS = 4
"""How many columns fit side by side."""
MAX_MEASURES = 5
"""How many measures fit beside the cost where a table is narrow; a column's own section of the report has all."""


def format_cost(cell: Mapping[str, Any], digits: int = 2) -> str:
    """Format a cell's mean cost, with the spread if there are several seeds."""
    mean = f"{cell['mean']:.{digits}f}".replace("-", "−")
    return mean + (f" ± {cell['std']:.{digits}f}" if len(cell["per_seed"]) > 1 else "")


def format_cost_reduction(cells: Mapping[str, Mapping[str, Any]], method: str, baseline: str = "base") -> str:
    """Format a method's change against the baseline as a signed percentage; empty if there is none."""
    before = cells[baseline]["mean"] if baseline in cells else 0.0
    if method == baseline or not before:
        return ""
    return f"{100 * (cells[method]['mean'] / before - 1):+.0f}%".replace("-", "−")


def build_scenario_table(results: Mapping[str, Any], column: str) -> Table:
    """Build a table of one column: each method's cost, change against the base model, and other measures."""
    cells = results["cells"][column]
    measures = [name for name in MEASURE_FORMATS if any(name in cell for cell in cells.values())][:MAX_MEASURES]
    titles = ["Edit cost", "Against base", *(MEASURE_FORMATS[name][0] for name in measures)]
    table = _make_table(format_scenario_title(column), "Method", *titles)
    least = min(cells[method]["mean"] for method in exclude_oracle(cells))
    for method, cell in cells.items():
        others = [MEASURE_FORMATS[name][1].format(cell[name]) if name in cell else "–" for name in measures]
        style = "bold" if cell["mean"] == least else ""
        _add_row(
            table,
            get_method_label(method),
            format_cost(cell),
            format_cost_reduction(cells, method),
            *others,
            style=style,
        )
    return table


def build_scenarios_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """Build tables of the mean cost per method, at most four main columns side by side; Max SubOpt in the last one."""
    names = filter_main_scenarios(results["columns"])
    titled = [(format_scenario_title(column), results["cells"][column]) for column in names]
    for start in range(0, len(titled), MAX_COLUMNS):
        last = [("Max SubOpt", results["max_subopt"])] if start + MAX_COLUMNS >= len(titled) else []
        columns = titled[start : start + MAX_COLUMNS] + last
        table = _make_table("Mean edit cost", "Method", *(title for title, _ in columns))
        for method in results["methods"]:
            if any(method in cells for _, cells in columns):
                costs = (format_cost(cells[method]) if method in cells else "–" for _, cells in columns)
                _add_row(table, get_method_label(method), *costs)
        yield table


def build_paper_table(table: TableResults, results: Mapping[str, Any]) -> Table:
    """Build one of the paper's tables: mean cost per method and Max SubOpt, each with the paper's figure below it."""
    columns: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        (column.table_title, results["cells"][column.name], get_paper_costs(column.name) or {})
        for column in table.columns
    ]
    if len(table.columns) > 1:
        columns.append(("Max SubOpt", table.max_subopt, table.paper.max_subopt))
    title = f"{table.title}. Mean edit cost, and below it the paper's."
    shown = _make_table(title, "Method", *(name for name, _, _ in columns))
    for method in results["methods"]:
        if not any(method in cells for _, cells, _ in columns):
            continue
        costs = (format_cost(cells[method]) if method in cells else "–" for _, cells, _ in columns)
        _add_row(shown, get_method_label(method), *costs)
        if any(method in theirs for _, _, theirs in columns):
            paper = (f"{own[method]['mean']:.2f} ± {own[method]['std']:.2f}" if method in own else "–"
                     for _, _, own in columns)  # fmt: skip
            _add_row(shown, "", *paper, style="dim")
    return shown


def build_measures_table(table: TableResults, results: Mapping[str, Any]) -> Table:
    """Build the table of what lies behind the costs of one of the paper's tables: means over its columns."""
    cells = [results["cells"][column.name] for column in table.columns]
    known = {name for own in cells for cell in own.values() for name in cell}
    measures = [name for name in MEASURE_FORMATS if name in known][:MAX_MEASURES]
    titles = ["Edit cost", *(MEASURE_FORMATS[name][0] for name in measures)]
    shown = _make_table(f"Means over the columns of table {table.number}", "Method", *titles)
    for method in results["methods"]:
        played = [own[method] for own in cells if method in own]
        if len(played) == len(cells):
            values = [[cell[name] for cell in played if name in cell] for name in measures]
            others = (MEASURE_FORMATS[name][1].format(fmean(own)) if own else "–"
                      for name, own in zip(measures, values, strict=True))  # fmt: skip
            cost = f"{fmean(cell['mean'] for cell in played):.2f}"
            _add_row(shown, get_method_label(method), cost, *others)
    return shown


def build_robustness_table(tables: Sequence[TableResults]) -> Table:
    """Build the table of each ensemble's Max SubOpt, divided by that of the best method of a single feedback."""
    shown = _make_table("Max SubOpt divided by that of the best single feedback", "Ensemble", "Table", "Ours", "Paper")
    for table in tables:
        for method, cell in table.robustness.items():
            paper = f"{table.paper.robustness[method]:.2f}"
            _add_row(shown, get_method_label(method), str(table.number), format_cost(cell), paper)
    return shown


def build_regret_table(results: Mapping[str, Any]) -> Table:
    """Build the table of regrets, a row for each late ensemble in each column that is not a point of a sweep."""
    heads = ("Column", "Late ensemble", "Regret", "A round", "Ratio", "Best single arm")
    table = _make_table("Regret over the rounds of a seed", *heads, wrap=True)
    for name in filter_unswept_scenarios(results["columns"]):
        for method, cell in results.get("regret", {}).get(name, {}).items():
            total, ratio, best = format_regret(cell)
            per_round = format_cost(compute_regret_per_round(results, name, method), digits=3)
            _add_row(table, format_scenario_title(name), get_method_label(method), total, per_round, ratio, best)
    return table


def format_regret(cell: Mapping[str, Any]) -> tuple[str, str, str]:
    """Format the regret, the ratio of the totals, and which single arm was the best in how many seeds."""
    counts = Counter(map(get_method_label, cell["best"]))
    best = ", ".join(f"{arm} ({times}×)" if len(counts) > 1 else arm for arm, times in counts.most_common())
    return format_cost(cell["regret"]), format_cost(cell["ratio"]) if "ratio" in cell else "–", best


def build_safety_table(results: Mapping[str, Any]) -> Table:
    """Build the table of Max SubOpt over all columns but those of sweeps, beside the mean cost over them."""
    table = _make_table("Max SubOpt, all columns", "Method", "Mean cost", "Max SubOpt")
    names = filter_unswept_scenarios(results["columns"])
    for method, cell in results.get("max_subopt_all", {}).items():
        cost = fmean(results["cells"][name][method]["mean"] for name in names)
        _add_row(table, get_method_label(method), f"{cost:.2f}", format_cost(cell))
    return table


def build_sweep_table(sweep: Sweep) -> Table:
    """Build the table of a sweep: mean cost, a row for each of its points, a column for each method."""
    table = _make_table(f"Mean edit cost: {sweep.title}", sweep.symbol, *map(get_method_label, sweep.methods))
    for value, cells in sweep.cells.items():
        costs = (format_cost(cells[method]) if method in cells else "–" for method in sweep.methods)
        _add_row(table, sweep.format_value(value), *costs)
    return table


def build_users_table(results: Mapping[str, Any]) -> Table:
    """Build the table of people: mean cost and regret, a row for each person and one for everybody."""
    methods = results["methods"]
    table = _make_table(
        "Mean edit cost", "Person", "Edits", "Taste shared with", *map(get_method_label, methods), "Regret"
    )
    for row in build_user_rows(results):
        costs = (format_cost(row.cells[method]) for method in methods)
        _add_row(table, row.name, row.edits, row.taste, *costs, "–" if row.regret is None else format_cost(row.regret))
    return table


def _make_table(title: str, first: str, *others: str, wrap: bool = False) -> Table:
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    table.add_column(Text(first), no_wrap=not wrap)
    for other in others:
        table.add_column(Text(other), justify="right")
    return table


def _add_row(table: Table, *cells: str, style: str = "") -> None:
    """Add a row whose cells are plain text: brackets in them are not markup."""
    table.add_row(*map(Text, cells), style=style)


def print_results(console: Console, results: Mapping[str, Any]) -> None:
    """Print the tables of a run, and its saving in words.

    Up to four columns have a table each; with more, only a single plain column has one, and the report has them all.
    People with different tastes share one table.
    """
    for table in [build_users_table(results)] if is_personal_run(results) else _build_tables(results):
        console.print(table)
        console.print()
    saved = compute_cost_reduction(results)
    if saved:
        sentence = capitalize_first(saved.description)
        costs = f"edit cost {saved.before:.2f} before, {saved.after:.2f} with {get_method_label(saved.method)}"
        console.print(Text.assemble((sentence, "bold"), f" ({costs})."))


def _build_tables(results: Mapping[str, Any]) -> list[Table]:
    columns = [parse_scenario(name) for name in results["columns"]]
    main = group_scenarios(results["columns"]).main
    if len(columns) <= MAX_COLUMNS:
        alone = [column for column in columns if not column.swept_parameter]
    else:
        alone = list(main) if len(main) == 1 else []
    tables = [build_scenario_table(results, column.name) for column in alone]
    if from_paper := collect_tables(results):
        tables += [build_paper_table(table, results) for table in from_paper]
        tables += [build_measures_table(table, results) for table in from_paper if not alone]
        robustness = build_robustness_table(from_paper)
        tables += [robustness] if robustness.row_count else []
    elif len(main) > 1:
        tables += build_scenarios_tables(results)
    regrets = build_regret_table(results)
    if regrets.row_count and len(columns) > 1:
        tables.append(regrets)
    if "max_subopt_all" in results:
        tables.append(build_safety_table(results))
    return [*tables, *map(build_sweep_table, collect_sweeps(results))]


def print_examples(console: Console, rounds: Sequence[RoundRow], method: str, n: int = 3) -> None:
    """Print ordinary rounds before and after learning, with the user's changes marked.

    They are marked by colour on a terminal that has it; elsewhere as `[-deleted-]{+inserted+}`.
    """
    arms = list_arms(rounds)
    for example in pick_examples(rounds, method, n=n):
        after = example.after
        console.rule(Text(f"{str(after['kind']).replace('_', ' ')} (round {after['t']})"), align="left")
        console.print(Text(format_chat_context(after["context"]), style="dim"))
        for when, played in (("Before", example.before), ("After", after)):
            console.print()
            console.print(Text(f"{when}: {format_author(played, arms)}: {format_verdict(played)}", style="bold"))
            console.print(_highlight_diff(console, str(played["response"]), str(played["edit"])))
        console.print()


def _highlight_diff(console: Console, response: str, edit: str) -> Text:
    coloured = console.is_terminal and console.color_system is not None and not console.no_color
    return render_diff_rich(response, edit) if coloured else Text(render_diff_plain(response, edit))
