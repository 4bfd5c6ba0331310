"""The section about what varies with the strength of the user, or with the size of the log."""

from collections.abc import Mapping
from html import escape
from typing import Any

from copydesk.report.methods import Look
from copydesk.report.parts import cost_cell, figure, least_of, row, table
from copydesk.report.sweep_plot import cost_over_sweep
from copydesk.report.sweeps import Crossing, Sweep, crossings, sweeps_of


def sweep_section(results: Mapping[str, Any], shown: Mapping[str, Look]) -> str:
    """Every sweep: curves, where they cross, and a table; empty where there is none."""
    sweeps = sweeps_of(results)
    if not sweeps:
        return ""
    return f"<section><h2>What it depends on</h2>{''.join(_sweep(sweep, shown) for sweep in sweeps)}</section>"


def _sweep(sweep: Sweep, shown: Mapping[str, Look]) -> str:
    crossed = "".join(f"<li>{escape(_words(sweep, crossing, shown))}</li>" for crossing in crossings(sweep))
    note = "Mean edit cost, with a band of one standard deviation over seeds. Lower is better."
    plot = figure(sweep.title, note, "", cost_over_sweep(sweep))
    where = crossed and f'<div><h3>Where two methods cross</h3><ul class="crossings">{crossed}</ul></div>'
    rows = []
    for value, cells in sweep.cells.items():
        rows.append(
            row(sweep.format_value(value), [cost_cell(cells.get(method), least_of(cells)) for method in sweep.methods])
        )
    head = [sweep.symbol, *(shown[method].label for method in sweep.methods)]
    caption = f"{sweep.title}: mean edit cost ± standard deviation over seeds."
    return f'<div class="plots block">{plot}{where}</div>{table(caption, head, rows)}'


def _words(sweep: Sweep, crossing: Crossing, shown: Mapping[str, Look]) -> str:
    at = f"{crossing.value:.2f}" if sweep.symbol == "p" else f"{crossing.value:,.0f}"
    one, other, cheaper = (shown[name].label for name in (crossing.first, crossing.second, crossing.cheaper))
    return f"{one} and {other} cross at {sweep.symbol}\u00a0≈\u00a0{at}; beyond that {cheaper} is cheaper"
