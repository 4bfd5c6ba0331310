"""The plots of *Ensemble*."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from copydesk.gateway.web.history import (
    ChartLine,
    EnsembleHistory,
    compute_mean_costs,
    compute_pull_shares,
    compute_regret_curve,
    compute_running_mean,
    compute_share_window,
    find_best_policy,
)
from copydesk.gateway.web.svg import strip_svg_styles
from copydesk.report.plots import spread_labels
from copydesk.report.style import MethodStyle
from copydesk.report.svg import draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CHART_HEIGHT = 3.0
_LABEL_MARKER = "■"
_MAX_LABEL_CHARS = 16  # characters of a name beside a line


def draw_costs(history: EnsembleHistory, looks: Mapping[str, MethodStyle]) -> str:
    """The mean cost of each policy over its pulls so far, with confidence bands."""
    lines = {name: compute_running_mean(history, name) for name in compute_mean_costs(history)}
    last = int(history.rounds[-1])

    def draw(axes: "Axes") -> None:
        ends: dict[str, float] = {}
        for name, line in lines.items():
            colour, end = looks[name].light, float(line.values[-1])
            axes.fill_between(line.rounds, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(line.rounds, line.values, color=colour, linewidth=1.8)
            # A mean stays what it is while its policy is not played.
            axes.plot([line.rounds[-1], last], [end, end], color=colour, linewidth=1, linestyle=(0, (1, 2)))
            ends[name] = end
        axes.set(xlabel="round", xlim=(1, max(2, last)), ylim=(0, _compute_y_limit(lines.values()) or 1.0))
        for name, height in spread_labels(ends, axes.get_ylim()[1] * 0.08).items():
            _label_line(axes, name, looks[name], height)

    said = ", ".join(f"{name} {line.values[-1]:.2f}" for name, line in lines.items())
    return _render_chart(draw, looks, f"Line plot: mean edit cost of each policy over the rounds. At the end: {said}.")


def draw_pulls(history: EnsembleHistory, looks: Mapping[str, MethodStyle]) -> str:
    """Which share of the latest pulls each policy had, stacked."""
    rounds, rows = compute_pull_shares(history, compute_share_window(len(history.rounds)))

    def draw(axes: "Axes") -> None:
        axes.stackplot(rounds, rows, colors=[looks[name].light for name in history.names], alpha=0.9, linewidth=0)
        axes.set(xlabel="round", xlim=(int(rounds[0]), max(int(rounds[-1]), int(rounds[0]) + 1)), ylim=(0, 1))
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])

    said = ", ".join(f"{name} {row[-1]:.0%}" for name, row in zip(history.names, rows, strict=True))
    return _render_chart(draw, looks, f"Area plot: shares of the pulls over the rounds. At the end: {said}.")


def draw_regret(history: EnsembleHistory, looks: Mapping[str, MethodStyle]) -> str:
    """By how much the edits cost more than those of the best policy would have."""
    rounds, behind = compute_regret_curve(history)
    best = find_best_policy(history)
    assert best is not None

    def draw(axes: "Axes") -> None:
        axes.axhline(0, color=looks[best].light, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.plot(rounds, behind, color=axes.xaxis.label.get_color(), linewidth=1.8)
        low, high = min(0.0, float(behind.min())), max(0.0, float(behind.max()))
        room = 0.05 * max(1.0, high - low)
        axes.set(xlabel="round", xlim=(1, max(2, int(history.rounds[-1]))), ylim=(low - room, high + room))
        _label_line(axes, best, looks[best], 0.0)

    label = f"Line plot: regret against {best}, the best policy in hindsight. At the end: {behind[-1]:.2f}."
    return _render_chart(draw, looks, label)


def _render_chart(draw: "Callable[[Axes], None]", looks: Mapping[str, MethodStyle], label: str) -> str:
    # Colours go by the look, not by the policy's name: the style sheet knows the looks there are.
    colours = {look.light.removeprefix("#"): look for look in looks.values()}
    return strip_svg_styles(draw_svg(draw, colours, label, _CHART_HEIGHT))


def _compute_y_limit(lines: Iterable[ChartLine]) -> float:
    """Where the plot ends: above nearly all of the means, not above the bands of the first few costs."""
    return 1.25 * max(float(np.quantile(line.values, 0.95)) for line in lines)


def _label_line(axes: "Axes", name: str, look: MethodStyle, height: float) -> None:
    """Put a policy's name beside its line: the sign in its colour, the name in one that is easily read."""
    for text, right, colour in (
        (_LABEL_MARKER, 5, look.light),
        (_shorten_name(name), 16, axes.xaxis.label.get_color()),
    ):
        axes.annotate(
            text, (1, height), xycoords=("axes fraction", "data"), xytext=(right, 0), textcoords="offset points",
            va="center", color=colour,
        )  # fmt: skip


def _shorten_name(name: str) -> str:
    return name if len(name) <= _MAX_LABEL_CHARS else name[: _MAX_LABEL_CHARS - 1] + "…"
