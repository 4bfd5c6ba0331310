"""The section about users who are not, or do not stay, those of the log."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from copydesk.report import plots
from copydesk.report.columns import Column
from copydesk.report.methods import Look, label_of
from copydesk.report.parts import by_title, costs_table, figure, named, table
from copydesk.report.rounds import Round
from copydesk.report.table import cost_text, regret_texts


def shift_section(
    columns: Sequence[Column],
    rounds: Mapping[str, Sequence[Round]],
    results: Mapping[str, Any],
    shown: Mapping[str, Look],
) -> str:
    """What the shifted `columns` cost, and how soon each late ensemble found the policy to play; empty without any."""
    if not columns:
        return ""
    regret = results.get("regret", {})
    lates = {column.name: regret[column.name] for column in columns if column.name in regret}
    figures = [_plot(column, rounds[column.name]) for column in columns if column.name in lates]
    intro = (
        '<p class="soft">The policies were trained on one user\'s edits, and somebody else is met online, or the user '
        "changes halfway.</p>"
    )
    cells = by_title(results, [column.name for column in columns])
    if "max_subopt_all" in results:
        cells["Max SubOpt, all columns"] = results["max_subopt_all"]
    costs = costs_table(
        "Mean edit cost ± standard deviation over seeds. Max SubOpt is over these columns and those above.",
        cells,
        shown,
    )
    plots_html = f'<div class="plots block">{"".join(figures)}</div>' if figures else ""
    return (
        f"<section><h2>Users who are not those of the log</h2>{intro}{costs}"
        f"{_safety(results)}{_table(columns, lates, shown)}{plots_html}</section>"
    )


def _safety(results: Mapping[str, Any]) -> str:
    """What the ensembles' Max SubOpt over all columns is, in one sentence."""
    found = results.get("robustness_all", {})
    if not found:
        return ""
    words = ", ".join(f"{label_of(name).lower()} {cost_text(cell)}" for name, cell in found.items())
    return (
        '<p class="soft">Max SubOpt over all columns, that of the best method of a single feedback counted as 1: '
        f"{words}.</p>"
    )


def _table(columns: Sequence[Column], lates: Mapping[str, Mapping[str, Any]], shown: Mapping[str, Look]) -> str:
    rows = []
    for column in columns:
        own = lates.get(column.name, {})
        head = f'<th scope="row" rowspan="{len(own)}">{escape(column.title)}</th>'
        for method, cell in own.items():
            texts = "".join(f"<td>{escape(text)}</td>" for text in regret_texts(cell))
            rows.append(f"<tr>{head}<td>{named(method, shown)}</td>{texts}</tr>")
            head = ""
    caption = (
        "Regret: the total cost of a late ensemble minus that of the best single arm in hindsight, which "
        "answers every round of the seed. Ratio: the first total divided by the second; below 1 switching paid."
    )
    return table(caption, ["Column", "Rule", "Regret", "Ratio", "Best single arm"], rows) if rows else ""


def _plot(column: Column, rounds: Sequence[Round]) -> str:
    turn = max(int(played["t"]) for played in rounds) // 2 if column.changes_midway else None
    note = "Regret so far, against the single arm that is the best over all rounds."
    if turn is not None:
        note += f" The user changes after round {turn}."
    return figure(column.title, note, "", plots.regret_over_rounds(rounds, turn))
