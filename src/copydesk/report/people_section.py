"""The section about people with different tastes: who is better off with the shared policy, and who with their own."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from copydesk.report import plots
from copydesk.report.parts import (
    find_lowest_mean,
    render_cost_cell,
    render_figure,
    render_legend,
    render_row,
    render_table,
)
from copydesk.report.people import build_user_rows, get_user_scenario
from copydesk.report.people_plot import plot_cost_by_user
from copydesk.report.rounds import RoundRow
from copydesk.report.style import MethodStyle, is_late
from copydesk.report.terminal import format_cost


def render_users_section(
    rounds: Mapping[str, Sequence[RoundRow]], results: Mapping[str, Any], shown: Mapping[str, MethodStyle]
) -> str:
    """A table of all people, their costs as bars, and which policy each one's ensemble played.

    `rounds` are by column.
    """
    rows = build_user_rows(results)
    methods = results["methods"]
    lines = [
        render_row(
            escape(one.name),
            [
                f"<td>{one.edits}</td><td>{escape(one.taste)}</td>",
                *(render_cost_cell(one.cells[method], find_lowest_mean(one.cells)) for method in methods),
                f"<td>{'–' if one.regret is None else format_cost(one.regret)}</td>",
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
    figures = [
        render_figure("Edit cost of each person", note, render_legend(methods, shown), plot_cost_by_user(rows[:-1]))
    ]
    for one in rows[:-1]:
        played = rounds[get_user_scenario(results, one.name)]
        for late in filter(is_late, methods):
            title = f"{one.name}, {one.edits} edits"
            note = f"Which policy the late ensemble played: share of the last {plots.choose_rolling_window(played)} rounds."
            figures.append(
                render_figure(
                    title, note, render_legend(["shared", "own"], shown), plots.plot_pulls_over_rounds(played, late)
                )
            )
    intro = (
        "<p class=\"soft\">One policy learnt from everybody's edits; an adapter of one's own learnt from those of one "
        "person alone; a late ensemble finds out for each person which of the two to play, and begins with what it "
        "found for the others.</p>"
    )
    return (
        f"<section><h2>Each person</h2>{intro}{render_table(caption, head, lines)}"
        f'<div class="plots block">{"".join(figures)}</div></section>'
    )
