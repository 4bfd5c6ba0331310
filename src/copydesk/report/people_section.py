"""The section about people with different tastes: who is better off with the shared policy, and who with their own."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from copydesk.report import plots
from copydesk.report.methods import Look, is_late
from copydesk.report.parts import cost_cell, figure, least_of, legend, row, table
from copydesk.report.people import column_of_person, rows_of
from copydesk.report.people_plot import cost_by_person
from copydesk.report.rounds import Round
from copydesk.report.table import cost_text


def people_section(rounds: Mapping[str, Sequence[Round]], results: Mapping[str, Any], shown: Mapping[str, Look]) -> str:
    """A table of all people, their costs as bars, and which policy each one's ensemble played.

    `rounds` are by column.
    """
    rows = rows_of(results)
    methods = results["methods"]
    lines = [
        row(
            escape(one.name),
            [
                f"<td>{one.edits}</td><td>{escape(one.taste)}</td>",
                *(cost_cell(one.cells[method], least_of(one.cells)) for method in methods),
                f"<td>{'–' if one.regret is None else cost_text(one.regret)}</td>",
            ],
        )
        for one in rows
    ]
    caption = (
        "Mean edit cost of a round, the lowest in bold; for everybody each person counts alike. Regret: the late "
        "ensemble's total cost minus that of the better of its two policies; for everybody it is the sum."
    )
    head = ["Who", "Edits", "Taste shared with", *(shown[method].label for method in methods), "Regret"]
    note = "Everybody meets the same documents. Lower is better."
    figures = [figure("Edit cost of each person", note, legend(methods, shown), cost_by_person(rows[:-1]))]
    for one in rows[:-1]:
        played = rounds[column_of_person(results, one.name)]
        for late in filter(is_late, methods):
            title = f"{one.name}, {one.edits} edits"
            note = f"Which policy the late ensemble played: share of the last {plots.window(played)} rounds."
            figures.append(figure(title, note, legend(["shared", "own"], shown), plots.pulls_over_rounds(played, late)))
    intro = (
        "<p class=\"soft\">One policy learnt from everybody's edits; an adapter of one's own learnt from those of one "
        "person alone; a late ensemble finds out for each person which of the two to play, and begins with what it "
        "found for the others.</p>"
    )
    return (
        f"<section><h2>Each person</h2>{intro}{table(caption, head, lines)}"
        f'<div class="plots block">{"".join(figures)}</div></section>'
    )
