"""The section that sets our table beside the paper's."""

from collections.abc import Mapping
from typing import Any

from copydesk.report import poster
from copydesk.report.columns import format_scenario_title
from copydesk.report.metrics import filter_plain_scenarios
from copydesk.report.parts import find_lowest_mean, render_cost_cell, render_method_name, render_row, render_table
from copydesk.report.style import MethodStyle
from copydesk.report.terminal import format_cost


def render_paper_section(results: Mapping[str, Any], shown: Mapping[str, MethodStyle]) -> str:
    """The columns that the poster has as well, each cell with the poster's below it; empty where there is none."""
    columns = [(results["cells"][name], poster.PAPER_COSTS[theirs], format_scenario_title(name))
               for name in results["columns"] if (theirs := poster.match_paper_scenario(name))]  # fmt: skip
    if not columns:
        return ""
    caption = (
        "Ours, and in small type the poster's: mean edit cost ± standard deviation over seeds. Models and users are "
        "not the paper's, so the order of the methods can be compared, and the values cannot."
    )
    if len(filter_plain_scenarios(results["columns"])) > 1:
        columns.append((results["max_subopt"], poster.PAPER_MAX_SUBOPT, "Max SubOpt"))
        caption += " Max SubOpt is over all of our columns of a task and a user, and over the poster's four."
    rows = [
        render_row(
            render_method_name(method, shown),
            [_render_paper_cells(method, ours, theirs) for ours, theirs, _ in columns],
        )
        for method in results["methods"]
        if method in poster.PAPER_MAX_SUBOPT
    ]
    if not rows:
        return ""
    beside = render_table(caption, ["Method", *(title for _, _, title in columns)], rows)
    return f"<section><h2>Beside the paper</h2>{beside}{_render_robustness(results, shown)}</section>"


def _render_paper_cells(method: str, ours: Mapping[str, Any], theirs: Mapping[str, Mapping[str, float]]) -> str:
    cell = theirs[method]
    below = f"<br><small>{cell['mean']:.2f} ± {cell['std']:.2f}</small>"
    return render_cost_cell(ours[method], find_lowest_mean(ours), below) if method in ours else f"<td>–{below}</td>"


def _render_robustness(results: Mapping[str, Any], shown: Mapping[str, MethodStyle]) -> str:
    """How much smaller an ensemble's Max SubOpt is than that of a method with one kind of feedback."""
    ours, theirs = results.get("robustness", {}), poster.compute_paper_robustness()
    rows = [
        render_row(
            render_method_name(method, shown), [f"<td>{format_cost(cell)}</td>", f"<td>{theirs[method]:.2f}</td>"]
        )
        for method, cell in ours.items()
    ]
    caption = (
        "How safe an ensemble is for those who do not know which user they have: its Max SubOpt divided by that of the "
        "best method of a single feedback (SFT, DPO or RL). Below 1 the ensemble is safer."
    )
    return render_table(caption, ["Ensemble", "Ours", "Poster"], rows) if rows else ""
