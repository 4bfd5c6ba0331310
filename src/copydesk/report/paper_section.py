"""The section that sets our table beside the paper's."""

from collections.abc import Mapping
from typing import Any

from copydesk.report import poster
from copydesk.report.columns import column_title
from copydesk.report.methods import Look
from copydesk.report.parts import cost_cell, least_of, named, row, table
from copydesk.report.subopt import plain_columns
from copydesk.report.table import cost_text


def paper_section(results: Mapping[str, Any], shown: Mapping[str, Look]) -> str:
    """The columns that the poster has as well, each cell with the poster's below it; empty where there is none."""
    columns = [(results["cells"][name], poster.CELLS[theirs], column_title(name))
               for name in results["columns"] if (theirs := poster.poster_column(name))]  # fmt: skip
    if not columns:
        return ""
    caption = (
        "Ours, and in small type the poster's: mean edit cost ± standard deviation over seeds. Models and users are "
        "not the paper's, so the order of the methods can be compared, and the values cannot."
    )
    if len(plain_columns(results["columns"])) > 1:
        columns.append((results["max_subopt"], poster.MAX_SUBOPT, "Max SubOpt"))
        caption += " Max SubOpt is over all of our columns of a task and a user, and over the poster's four."
    rows = [
        row(named(method, shown), [_pair(method, ours, theirs) for ours, theirs, _ in columns])
        for method in results["methods"]
        if method in poster.MAX_SUBOPT
    ]
    if not rows:
        return ""
    beside = table(caption, ["Method", *(title for _, _, title in columns)], rows)
    return f"<section><h2>Beside the paper</h2>{beside}{_robustness(results, shown)}</section>"


def _pair(method: str, ours: Mapping[str, Any], theirs: Mapping[str, Mapping[str, float]]) -> str:
    cell = theirs[method]
    below = f"<br><small>{cell['mean']:.2f} ± {cell['std']:.2f}</small>"
    return cost_cell(ours[method], least_of(ours), below) if method in ours else f"<td>–{below}</td>"


def _robustness(results: Mapping[str, Any], shown: Mapping[str, Look]) -> str:
    """How much smaller an ensemble's Max SubOpt is than that of a method with one kind of feedback."""
    ours, theirs = results.get("robustness", {}), poster.robustness()
    rows = [
        row(named(method, shown), [f"<td>{cost_text(cell)}</td>", f"<td>{theirs[method]:.2f}</td>"])
        for method, cell in ours.items()
    ]
    caption = (
        "How safe an ensemble is for those who do not know which user they have: its Max SubOpt divided by that of the "
        "best method of a single feedback (SFT, DPO or RL). Below 1 the ensemble is safer."
    )
    return table(caption, ["Ensemble", "Ours", "Poster"], rows) if rows else ""
