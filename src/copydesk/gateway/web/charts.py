"""The plots of the page Ensemble: read the ensemble's pulls from the store, compute the curves, draw them as SVG.

The SVG has no inline styles, which the pages' content security policy forbids.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, select

from copydesk.ensemble.arm_stats import Z_95
from copydesk.ensemble.limits import CountedRounds
from copydesk.report.style import MethodStyle
from copydesk.report.svg import draw_svg, spread_labels
from copydesk.store import tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CHART_POINTS = 500
"""The most points of a line: more cannot be seen."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class EnsembleHistory:
    """The ensemble's answered pulls in their order.

    Attributes:
        names: the policies that were pulled, in the order of their first pull.
        rounds: the number of each pull.
        arms: the index of its policy in `names`.
        costs: the cost of its edit, NaN while it is pending.
    """

    names: tuple[str, ...]
    rounds: Ints
    arms: Ints
    costs: Floats

    @classmethod
    def from_pulls(cls, pulls: Sequence[tuple[int, str, float | None]]) -> "EnsembleHistory":
        """The history of (round, policy, cost) triples."""
        names = tuple(dict.fromkeys(name for _, name, _ in pulls))
        place = {name: index for index, name in enumerate(names)}
        return cls(
            names,
            np.array([number for number, _, _ in pulls], dtype=np.int64),
            np.array([place[name] for _, name, _ in pulls], dtype=np.int64),
            np.array([np.nan if cost is None else cost for _, _, cost in pulls], dtype=np.float64),
        )

    @property
    def edit_count(self) -> int:
        """The number of pulls that have a cost."""
        return int(np.isfinite(self.costs).sum())


@dataclass(frozen=True)
class ChartLine:
    """A curve over the rounds with its confidence band, NaN where there is none yet."""

    rounds: Ints
    values: Floats
    low: Floats
    high: Floats


def read_history(
    connection: Connection, counted: CountedRounds, until: int | None = None, hidden: Collection[str] = ()
) -> EnsembleHistory:
    """The pulls in the log that count, each with the cost of the edit that counts.

    Args:
        connection: connection to the store.
        counted: the rounds that exceeded a limit.
        until: number in the log of the last event to read.
        hidden: policies whose pulls are left out.
    """
    pulls, edits, withdrawals = tables.pulls, tables.edits, tables.withdrawals
    unanswered = select(withdrawals.c.round).where(withdrawals.c.round.is_not(None))
    edited = edits.c.completion_id == pulls.c.completion_id
    if until is not None:
        edited = and_(edited, edits.c.seq <= until)
    query = (
        select(pulls.c.round, pulls.c.arm, edits.c.cost)
        .select_from(pulls.outerjoin(edits, edited))
        .where(pulls.c.round.not_in(unanswered), pulls.c.arm != "")
        .order_by(pulls.c.round, edits.c.revision)
    )
    if until is not None:
        query = query.where(pulls.c.seq <= until)
    latest = {number: (name, cost) for number, name, cost in connection.execute(query)}  # the last revision stays
    return EnsembleHistory.from_pulls(
        [
            (number, name, counted.kept_costs.get(number, cost))
            for number, (name, cost) in latest.items()
            if name not in hidden and number not in counted.left_out
        ]
    )


def compute_running_mean(history: EnsembleHistory, name: str) -> ChartLine:
    """A policy's mean cost over its pulls so far, after each of them, with a 95% confidence band."""
    mine = (history.arms == history.names.index(name)) & np.isfinite(history.costs)
    rounds, costs = history.rounds[mine], history.costs[mine]
    count = np.arange(1, len(costs) + 1)
    mean = np.cumsum(costs) / count
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # costs of an old store may be huge
        spread = np.maximum(np.cumsum(costs**2) - count * mean**2, 0.0)
        half = np.where(count > 1, Z_95 * np.sqrt(spread / (count - 1) / count), np.nan)
    keep = thin_points(len(costs))
    return ChartLine(rounds[keep], mean[keep], np.maximum(mean - half, 0.0)[keep], (mean + half)[keep])


def compute_pull_shares(history: EnsembleHistory, width: int) -> tuple[Ints, Floats]:
    """Each policy's share of the last `width` pulls: the rounds, and one row of shares for each policy."""
    count = len(history.rounds)
    keep = thin_points(count)
    first = np.maximum(keep - width + 1, 0)
    rows = []
    for index in range(len(history.names)):
        so_far = np.concatenate([[0], np.cumsum(history.arms == index)])
        rows.append((so_far[keep + 1] - so_far[first]) / (keep + 1 - first))
    return history.rounds[keep], np.array(rows, dtype=np.float64)


def compute_regret_curve(history: EnsembleHistory) -> tuple[Ints, Floats]:
    """Regret: the cost of all edits so far, less that of as many edits at the current mean of the best policy."""
    observed = np.isfinite(history.costs)
    best = find_best_policy(history)
    if best is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    regret = np.cumsum(history.costs[observed] - compute_mean_costs(history)[best])
    keep = thin_points(len(regret))
    return history.rounds[observed][keep], regret[keep]


def compute_mean_costs(history: EnsembleHistory) -> dict[str, float]:
    """The mean cost of each policy that has one."""
    costs = {name: history.costs[history.arms == index] for index, name in enumerate(history.names)}
    return {name: float(np.nanmean(mine)) for name, mine in costs.items() if np.isfinite(mine).any()}


def find_best_policy(history: EnsembleHistory) -> str | None:
    """The policy with the lowest mean cost."""
    means = compute_mean_costs(history)
    return min(means, key=means.__getitem__, default=None)


def compute_share_window(pulls: int) -> int:
    """The number of pulls over which shares are computed: a tenth of all, at least ten."""
    return max(10, pulls // 10)


def thin_points(count: int, most: int = MAX_CHART_POINTS) -> Ints:
    """Indices of at most `most` of `count` points, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64))


_STYLE = re.compile(r' style="([^"]*)"')
_STYLE_SHEET = re.compile(r"<style\b.*?</style>", re.DOTALL)
_MATPLOTLIB_IDS = re.compile(r' id="matplotlib\.[^"]*"')  # they would be the same in every plot
_FONT_PROPERTIES = ("font", "font-family")  # set by the page's style sheet

SVG_ROOT = '<svg class="plot" stroke-linejoin="round" stroke-linecap="butt" '
"""Replaces matplotlib's style sheet with attributes that elements below can override."""


def strip_svg_styles(svg: str) -> str:
    """A drawing of `copydesk.report.svg.draw_svg` with presentation attributes in place of styles."""
    svg = _MATPLOTLIB_IDS.sub("", _STYLE_SHEET.sub("", svg))
    return _STYLE.sub(_style_to_attributes, svg).replace("<svg ", SVG_ROOT, 1)


def _style_to_attributes(style: re.Match[str]) -> str:
    pairs = (part.partition(":") for part in style[1].split(";") if part.strip())
    named = ((name.strip(), value.strip()) for name, _, value in pairs)
    return "".join(f' {name}="{value}"' for name, value in named if name not in _FONT_PROPERTIES)


_CHART_HEIGHT = 3.0
_LABEL_MARKER = "■"
_MAX_LABEL_CHARS = 16  # characters of a name beside a line


def draw_costs(history: EnsembleHistory, styles: Mapping[str, MethodStyle]) -> str:
    """The mean cost of each policy over its pulls so far, with confidence bands."""
    lines = {name: compute_running_mean(history, name) for name in compute_mean_costs(history)}
    last = int(history.rounds[-1])

    def draw(axes: "Axes") -> None:
        ends: dict[str, float] = {}
        for name, line in lines.items():
            colour, end = styles[name].light, float(line.values[-1])
            axes.fill_between(line.rounds, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(line.rounds, line.values, color=colour, linewidth=1.8)
            # The mean is constant while its policy is not played.
            axes.plot([line.rounds[-1], last], [end, end], color=colour, linewidth=1, linestyle=(0, (1, 2)))
            ends[name] = end
        axes.set(xlabel="round", xlim=(1, max(2, last)), ylim=(0, _compute_y_limit(lines.values()) or 1.0))
        for name, height in spread_labels(ends, axes.get_ylim()[1] * 0.08).items():
            _label_line(axes, name, styles[name], height)

    ends_text = ", ".join(f"{name} {line.values[-1]:.2f}" for name, line in lines.items())
    return _render_chart(
        draw, styles, f"Line plot: mean edit cost of each policy over the rounds. At the end: {ends_text}."
    )


def draw_pulls(history: EnsembleHistory, styles: Mapping[str, MethodStyle]) -> str:
    """Each policy's share of the latest pulls, stacked."""
    rounds, rows = compute_pull_shares(history, compute_share_window(len(history.rounds)))

    def draw(axes: "Axes") -> None:
        axes.stackplot(rounds, rows, colors=[styles[name].light for name in history.names], alpha=0.9, linewidth=0)
        axes.set(xlabel="round", xlim=(int(rounds[0]), max(int(rounds[-1]), int(rounds[0]) + 1)), ylim=(0, 1))
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])

    ends_text = ", ".join(f"{name} {row[-1]:.0%}" for name, row in zip(history.names, rows, strict=True))
    return _render_chart(draw, styles, f"Area plot: shares of the pulls over the rounds. At the end: {ends_text}.")


def draw_regret(history: EnsembleHistory, styles: Mapping[str, MethodStyle]) -> str:
    """The regret against the best policy in hindsight."""
    rounds, regret = compute_regret_curve(history)
    best = find_best_policy(history)
    assert best is not None

    def draw(axes: "Axes") -> None:
        axes.axhline(0, color=styles[best].light, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.plot(rounds, regret, color=axes.xaxis.label.get_color(), linewidth=1.8)
        low, high = min(0.0, float(regret.min())), max(0.0, float(regret.max()))
        room = 0.05 * max(1.0, high - low)
        axes.set(xlabel="round", xlim=(1, max(2, int(history.rounds[-1]))), ylim=(low - room, high + room))
        _label_line(axes, best, styles[best], 0.0)

    label = f"Line plot: regret against {best}, the best policy in hindsight. At the end: {regret[-1]:.2f}."
    return _render_chart(draw, styles, label)


def _render_chart(draw: "Callable[[Axes], None]", styles: Mapping[str, MethodStyle], label: str) -> str:
    # Colours are named by style, not by policy: the style sheet has every style.
    colours = {style.light.removeprefix("#"): style for style in styles.values()}
    return strip_svg_styles(draw_svg(draw, colours, label, _CHART_HEIGHT))


def _compute_y_limit(lines: Iterable[ChartLine]) -> float:
    """The upper limit of the plot: above nearly all means, but not above the bands of the first few costs."""
    return 1.25 * max(float(np.quantile(line.values, 0.95)) for line in lines)


def _label_line(axes: "Axes", name: str, style: MethodStyle, height: float) -> None:
    """Put a policy's name beside its line: a marker in its colour, the name in a readable one."""
    for text, right, colour in (
        (_LABEL_MARKER, 5, style.light),
        (_shorten_name(name), 16, axes.xaxis.label.get_color()),
    ):
        axes.annotate(
            text, (1, height), xycoords=("axes fraction", "data"), xytext=(right, 0), textcoords="offset points",
            va="center", color=colour,
        )  # fmt: skip


def _shorten_name(name: str) -> str:
    return name if len(name) <= _MAX_LABEL_CHARS else name[: _MAX_LABEL_CHARS - 1] + "…"
