"""The section about what varies with the strength of the user, or with the size of the log."""

from collections.abc import Mapping
from html import escape
from typing import Any

from copydesk.report.parts import find_lowest_mean, render_cost_cell, render_figure, render_row, render_table
from copydesk.report.style import MethodStyle
from copydesk.report.sweep_plot import plot_cost_over_sweep
from copydesk.report.sweeps import Crossing, Sweep, collect_sweeps, find_crossings


def render_sweeps_section(results: Mapping[str, Any], shown: Mapping[str, MethodStyle]) -> str:
    """Every sweep: curves, where they cross, and a table; empty where there is none."""
    sweeps = collect_sweeps(results)
    if not sweeps:
        return ""
    return f"<section><h2>What it depends on</h2>{''.join(_render_sweep(sweep, shown) for sweep in sweeps)}</section>"


def _render_sweep(sweep: Sweep, shown: Mapping[str, MethodStyle]) -> str:
    crossed = "".join(
        f"<li>{escape(_describe_crossing(sweep, crossing, shown))}</li>" for crossing in find_crossings(sweep)
    )
    note = "Mean edit cost, with a band of one standard deviation over seeds. Lower is better."
    plot = render_figure(sweep.title, note, "", plot_cost_over_sweep(sweep))
    where = crossed and f'<div><h3>Where two methods cross</h3><ul class="crossings">{crossed}</ul></div>'
    rows = []
    for value, cells in sweep.cells.items():
        rows.append(
            render_row(
                sweep.format_value(value),
                [render_cost_cell(cells.get(method), find_lowest_mean(cells)) for method in sweep.methods],
            )
        )
    head = [sweep.symbol, *(shown[method].label for method in sweep.methods)]
    caption = f"{sweep.title}: mean edit cost ± standard deviation over seeds."
    return f'<div class="plots block">{plot}{where}</div>{render_table(caption, head, rows)}'


def _describe_crossing(sweep: Sweep, crossing: Crossing, shown: Mapping[str, MethodStyle]) -> str:
    at = f"{crossing.value:.2f}" if sweep.symbol == "p" else f"{crossing.value:,.0f}"
    one, other, cheaper = (shown[name].label for name in (crossing.first, crossing.second, crossing.cheaper))
    return f"{one} and {other} cross at {sweep.symbol}\u00a0≈\u00a0{at}; beyond that {cheaper} is cheaper"
