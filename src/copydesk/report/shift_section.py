"""The section about users who are not, or do not stay, those of the log."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from copydesk.report import plots
from copydesk.report.columns import Scenario
from copydesk.report.parts import (
    group_cells_by_title,
    render_costs_table,
    render_figure,
    render_method_name,
    render_table,
)
from copydesk.report.rounds import RoundRow
from copydesk.report.style import MethodStyle, get_method_label
from copydesk.report.terminal import format_cost, format_regret


def render_shift_section(
    columns: Sequence[Scenario],
    rounds: Mapping[str, Sequence[RoundRow]],
    results: Mapping[str, Any],
    shown: Mapping[str, MethodStyle],
) -> str:
    """What the shifted `columns` cost, and how soon each late ensemble found the policy to play; empty without any."""
    if not columns:
        return ""
    regret = results.get("regret", {})
    lates = {column.name: regret[column.name] for column in columns if column.name in regret}
    figures = [_render_shift_plot(column, rounds[column.name]) for column in columns if column.name in lates]
    intro = (
        '<p class="soft">The policies were trained on one user\'s edits, and somebody else is met online, or the user '
        "changes halfway.</p>"
    )
    cells = group_cells_by_title(results, [column.name for column in columns])
    if "max_subopt_all" in results:
        cells["Max SubOpt, all columns"] = results["max_subopt_all"]
    costs = render_costs_table(
        "Mean edit cost ± standard deviation over seeds. Max SubOpt is over these columns and those above.",
        cells,
        shown,
    )
    plots_html = f'<div class="plots block">{"".join(figures)}</div>' if figures else ""
    return (
        f"<section><h2>Users who are not those of the log</h2>{intro}{costs}"
        f"{_describe_safety(results)}{_render_shift_table(columns, lates, shown)}{plots_html}</section>"
    )


def _describe_safety(results: Mapping[str, Any]) -> str:
    """What the ensembles' Max SubOpt over all columns is, in one sentence."""
    found = results.get("robustness_all", {})
    if not found:
        return ""
    words = ", ".join(f"{get_method_label(name).lower()} {format_cost(cell)}" for name, cell in found.items())
    return (
        '<p class="soft">Max SubOpt over all columns, that of the best method of a single feedback counted as 1: '
        f"{words}.</p>"
    )


def _render_shift_table(
    columns: Sequence[Scenario], lates: Mapping[str, Mapping[str, Any]], shown: Mapping[str, MethodStyle]
) -> str:
    rows = []
    for column in columns:
        own = lates.get(column.name, {})
        head = f'<th scope="row" rowspan="{len(own)}">{escape(column.title)}</th>'
        for method, cell in own.items():
            texts = "".join(f"<td>{escape(text)}</td>" for text in format_regret(cell))
            rows.append(f"<tr>{head}<td>{render_method_name(method, shown)}</td>{texts}</tr>")
            head = ""
    caption = (
        "Regret: the total cost of a late ensemble minus that of the best single arm in hindsight, which "
        "answers every round of the seed. Ratio: the first total divided by the second; below 1 switching paid."
    )
    return render_table(caption, ["Scenario", "Rule", "Regret", "Ratio", "Best single arm"], rows) if rows else ""


def _render_shift_plot(column: Scenario, rounds: Sequence[RoundRow]) -> str:
    turn = max(int(played["t"]) for played in rounds) // 2 if column.changes_midway else None
    note = "Regret so far, against the single arm that is the best over all rounds."
    if turn is not None:
        note += f" The user changes after round {turn}."
    return render_figure(column.title, note, "", plots.plot_regret_over_rounds(rounds, turn))
