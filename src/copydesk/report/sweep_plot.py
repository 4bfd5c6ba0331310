"""How costs depend on what a sweep varies."""

from typing import TYPE_CHECKING

import numpy as np

from copydesk.report.plots import draw_line, label_lines
from copydesk.report.style import method_styles
from copydesk.report.svg import draw_svg
from copydesk.report.sweeps import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SWEEP_AXIS_LABELS = {"p": "p, the strength of the user", "n": "n, the edits in the log"}


def plot_cost_over_sweep(sweep: Sweep) -> str:
    """Mean cost over p, or over n on a log axis, a line a method with a band of one std over seeds."""
    shown = method_styles(sweep.methods)
    ends: dict[str, float] = {}

    def draw(axes: "Axes") -> None:
        for name, look in shown.items():
            values, cells = zip(*sweep.curve(name), strict=True)
            mean, std = (np.array([cell[figure] for cell in cells]) for figure in ("mean", "std"))
            draw_line(axes, values, mean, std, name, look, marker="o")
            ends[name] = float(mean[-1])
        values = list(sweep.cells)
        if sweep.symbol == "n":
            axes.set_xscale("log")
            axes.set_xticks(values, [sweep.format_value(value) for value in values])
            axes.set_xticks([], minor=True)
        axes.set(xlabel=SWEEP_AXIS_LABELS[sweep.symbol], ylabel="edit cost")
        axes.set_ylim(bottom=0)
        label_lines(axes, ends, shown)

    listed = ", ".join(look.label for look in shown.values())
    label = f"Line plot: mean edit cost over {SWEEP_AXIS_LABELS[sweep.symbol]}, of {listed}. {sweep.title}."
    return draw_svg(draw, shown, label, height=3.6)
