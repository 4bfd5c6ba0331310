"""The report's plots of one column: each takes its rounds, of any number of methods and seeds.

What each person pays with each method, as bars.

How costs depend on what a sweep varies.

Whether responses of which a cost is predicted have that cost on average.

One plot as SVG that belongs to the page it is set into.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from io import StringIO
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from copydesk.errors import InputError
from copydesk.report.metrics import compute_regrets
from copydesk.report.results import Sweep, UserRow
from copydesk.report.rounds import RoundRow, list_arms, list_methods
from copydesk.report.style import (
    METHOD_STYLES,
    LineStyle,
    MethodStyle,
    get_css_variable,
    get_method_label,
    is_late,
    method_styles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins for the page's own colours of text and rules.
_INK_PLACEHOLDER = "#010203"
RULE_COLOUR = "#030201"
_RC_PARAMS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "axes.labelsize": 10,
    "text.color": _INK_PLACEHOLDER,
    "axes.labelcolor": _INK_PLACEHOLDER,
    "xtick.color": _INK_PLACEHOLDER,
    "ytick.color": _INK_PLACEHOLDER,
    "axes.edgecolor": RULE_COLOUR,
    "grid.color": RULE_COLOUR,
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


def make_standalone_svg(svg: str) -> str:
    """A drawing that belongs to no page, as a file of its own: dark ink on white, in a common font."""
    own = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    style = "color: #24292f; background: #fff; font-family: system-ui, sans-serif"
    return svg.replace("<svg ", f'<svg {own} style="{style}" ', 1) + "\n"


def draw_svg(draw: "Callable[[Axes], None]", shown: Mapping[str, MethodStyle], label: str, height: float) -> str:
    """What `draw` draws on axes 5.6 inches wide and `height` inches high, as an `<svg>` element.

    Text stays text, in the page's font. The colours of the methods `shown` become CSS variables, so that the plot
    follows the page into dark mode. The same drawing always gives the same bytes. `label` says in words what is
    to be seen, for those who cannot see it.

    Raises InputError when matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("the report's plots need matplotlib; run: pip install 'copydesk[report]'") from None
    written = StringIO()
    with rc_context({**_RC_PARAMS, "svg.hashsalt": label}):
        figure = Figure(figsize=(5.6, height), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"| id="[a-zA-Z0-9]+_\d+"', "", svg)  # ids that would occur in every plot
    svg = re.sub(
        r'<svg [^>]*(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{escape(label)}">', svg, count=1
    )
    svg = svg.replace(_INK_PLACEHOLDER, "currentColor").replace(RULE_COLOUR, "var(--rule, #8885)")
    for method, look in shown.items():
        svg = svg.replace(look.light, f"var({get_css_variable(method)}, {look.light})")
    return svg.strip()


MAX_WINDOW = 20
"""Rounds in a rolling mean, where a run is long enough."""

_DASH_PATTERNS: dict[LineStyle, Any] = {
    "solid": "solid",
    "dashed": (0, (4, 2)),
    "dotted": (0, (1, 1.2)),
    "dashdot": (0, (5, 1.5, 1, 1.5)),
}


def plot_cost_over_rounds(rounds: Sequence[RoundRow]) -> str:
    """Rolling mean of the cost over a window of rounds, a line a method; with several seeds a band of one std."""
    shown = method_styles(list_methods(rounds))
    ends: dict[str, float] = {}

    def draw(axes: "Axes") -> None:
        for name, look in shown.items():
            seeds = _group_by_seed([played for played in rounds if played["method"] == name])
            length = min(len(played) for played in seeds)
            width = min(choose_rolling_window(rounds), length)
            curves = [_rolling_mean([one["cost"] for one in played[:length]], width) for played in seeds]
            ends[name] = draw_curves(axes, np.arange(width, length + 1), curves, name, look)
        axes.set(xlabel="round", xlim=(1, max(2, *(int(played["t"]) for played in rounds))))
        axes.set_ylim(bottom=0)
        label_lines(axes, ends, shown)

    label = f"Line plot: rolling mean edit cost over the rounds of {_join_labels(shown)}."
    return draw_svg(draw, shown, label, height=3.0)


def plot_pulls_over_rounds(rounds: Sequence[RoundRow], method: str = "late") -> str:
    """Which arm a late ensemble played: shares of a window of rounds, stacked, averaged over seeds."""
    late = _group_by_seed([played for played in rounds if played["method"] == method])
    shown = method_styles(list_arms(rounds).values())

    def draw(axes: "Axes") -> None:
        length = min(len(played) for played in late)
        width = min(choose_rolling_window(rounds), length)
        names = list_arms(rounds)
        shares = [
            np.mean(
                [_rolling_mean([names[one["policy"]] == arm for one in played[:length]], width) for played in late], 0
            )
            for arm in shown
        ]
        axes.stackplot(np.arange(width, length + 1), shares, colors=[look.light for look in shown.values()], alpha=0.9)
        axes.set(xlabel="round", xlim=(width, max(length, width + 1)), ylim=(0, 1), yticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_yticklabels(["0%", "25%", "50%", "75%", "100%"])

    name = get_method_label(method)
    label = f"Area plot: how the rounds of {name} are shared among {_join_labels(shown)}, over the rounds."
    return draw_svg(draw, shown, label, height=3.0)


def plot_cost_by_kind(rounds: Sequence[RoundRow]) -> str:
    """Mean cost for each kind of document, a bar a method."""
    shown = method_styles(list_methods(rounds))
    kinds = sorted({str(played["kind"]) for played in rounds})
    thick = 0.7 / len(shown)

    def draw(axes: "Axes") -> None:
        for i, (name, look) in enumerate(shown.items()):
            costs = [
                [one["cost"] for one in rounds if one["method"] == name and str(one["kind"]) == kind] for kind in kinds
            ]
            means = [fmean(found) if found else 0.0 for found in costs]
            axes.barh([k + i * thick for k in range(len(kinds))], means, height=thick * 0.84, color=look.light)
        for k, kind in enumerate(kinds):
            axes.annotate(format_kind(kind), (0, k - thick / 2), xytext=(0, 4), textcoords="offset points",
                          va="bottom")  # fmt: skip
        axes.set(ylim=(len(kinds) - 1 + 0.72, -0.4), yticks=[])
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")

    label = f"Bar plot: mean edit cost of {_join_labels(shown)}, for each of {len(kinds)} kinds of document."
    return draw_svg(draw, shown, label, height=0.35 + len(kinds) * (0.4 + 0.15 * len(shown)))


def plot_regret_over_rounds(rounds: Sequence[RoundRow], change_round: float | None = None) -> str:
    """Regret so far of each late ensemble, a band of one std over seeds; a vertical rule where the user changes.

    `change_round` is the last round of the first user.
    """
    regrets = compute_regrets(rounds)
    shown = method_styles(regrets)
    ends: dict[str, float] = {}

    def draw(axes: "Axes") -> None:
        length = 1
        for name, seeds in regrets.items():
            width = min(len(seed.curve) for seed in seeds)
            curves = [seed.curve[:width] for seed in seeds]
            ends[name] = draw_curves(axes, np.arange(1, width + 1), curves, name, shown[name])
            length = max(length, width)
        axes.axhline(0, color=RULE_COLOUR, linewidth=1.2)
        if change_round is not None:
            axes.axvline(change_round + 0.5, color=RULE_COLOUR, linewidth=1.2)
        axes.set(xlabel="round", xlim=(1, max(2, length)))
        label_lines(axes, ends, shown)

    label = f"Line plot: regret against the best single policy, summed over the rounds, of {_join_labels(shown)}."
    return draw_svg(draw, shown, label, height=3.0)


def choose_rolling_window(rounds: Iterable[RoundRow]) -> int:
    """How many rounds the rolling means are over: `MAX_WINDOW`, or a third of the run when it is short."""
    return max(1, min(MAX_WINDOW, max(int(played["t"]) for played in rounds) // 3))


def format_kind(kind: str) -> str:
    """A document kind for people: `peer_review` is `peer review`."""
    return kind.replace("_", " ")


def _join_labels(shown: Mapping[str, MethodStyle]) -> str:
    return ", ".join(look.label for look in shown.values())


def _group_by_seed(rounds: Sequence[RoundRow]) -> list[list[RoundRow]]:
    seeds = sorted({int(one["seed"]) for one in rounds})
    return [sorted((one for one in rounds if one["seed"] == seed), key=lambda one: int(one["t"])) for seed in seeds]


def _rolling_mean(values: Sequence[float], width: int) -> NDArray[np.float64]:
    """Means of each `width` neighbours; the first is that of rounds 1 to `width`."""
    return np.convolve(np.asarray(values, dtype=np.float64), np.full(width, 1 / width), mode="valid")


def draw_curves(axes: "Axes", x: ArrayLike, curves: Sequence[ArrayLike], method: str, look: MethodStyle) -> float:
    """Draw the mean of one curve a seed, with a band of one standard deviation where there are several.

    Returns the height at which it ends.
    """
    found: NDArray[np.float64] = np.array(curves, dtype=np.float64)
    mean = found.mean(axis=0)
    draw_line(axes, x, mean, found.std(axis=0, ddof=1) if len(found) > 1 else np.zeros_like(mean), method, look)
    return float(mean[-1])


def draw_line(
    axes: "Axes",
    x: ArrayLike,
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    method: str,
    look: MethodStyle,
    marker: str = "",
) -> None:
    """Draw a method's line in its colour and dashes, late ensembles on top, and a band where there is a spread."""
    late = is_late(method)
    axes.plot(
        x,
        mean,
        color=look.light,
        linewidth=2.4 if method == "late" else 1.5,
        linestyle=_DASH_PATTERNS[look.line],
        marker=marker,
        markersize=3.5,
        zorder=3 if late else 2,
    )
    if std.any():
        axes.fill_between(x, mean - std, mean + std, color=look.light, alpha=0.13, linewidth=0)


def label_lines(axes: "Axes", ends: Mapping[str, float], shown: Mapping[str, MethodStyle]) -> None:
    """Write each method's name to the right of the axes, where its line ends or just above another's name."""
    bottom, top = axes.get_ylim()
    for name, height in spread_labels(ends, (top - bottom) * 0.075).items():
        axes.annotate(shown[name].label, (1, height), xycoords=("axes fraction", "data"), xytext=(5, 0),
                      textcoords="offset points", va="center", color=shown[name].light)  # fmt: skip


def spread_labels(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Heights moved up just enough that labels put there are at least `gap` apart."""
    placed: dict[str, float] = {}
    floor = float("-inf")
    for name in sorted(heights, key=heights.__getitem__):
        placed[name] = floor = max(heights[name], floor + gap)
    return placed


def plot_cost_by_user(rows: Sequence[UserRow]) -> str:
    """Mean cost of each person, a bar a method."""
    shown = method_styles(rows[0].cells)
    thick = 0.7 / len(shown)

    def draw(axes: "Axes") -> None:
        for i, (name, look) in enumerate(shown.items()):
            means = [row.cells[name]["mean"] for row in rows]
            axes.barh([k + i * thick for k in range(len(rows))], means, height=thick * 0.84, color=look.light)
        for k, row in enumerate(rows):
            axes.annotate(f"{row.name}, {row.edits} edits", (0, k - thick / 2), xytext=(0, 4),
                          textcoords="offset points", va="bottom")  # fmt: skip
        axes.set(ylim=(len(rows) - 1 + 0.72, -0.4), yticks=[])
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")

    listed = ", ".join(look.label for look in shown.values())
    label = f"Bar plot: mean edit cost of {listed}, for each of {len(rows)} people."
    return draw_svg(draw, shown, label, height=0.35 + len(rows) * (0.4 + 0.15 * len(shown)))


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


CALIBRATION_FILE = "calibration.svg"
"""The name it has in a cost model's folder."""


def plot_calibration(bins: Sequence[Mapping[str, float]]) -> str:
    """Mean cost against mean prediction, a point a bin with two standard errors, and the diagonal.

    Args:
        bins: each with `rows`, `predicted`, `cost` and `error`, as `cost_model.json` holds them.

    Returns:
        an SVG file's contents.

    Raises:
        InputError: matplotlib is not installed.
    """
    look = METHOD_STYLES["rl"]

    def draw(axes: "Axes") -> None:
        predicted, cost = [one["predicted"] for one in bins], [one["cost"] for one in bins]
        error = [2 * one["error"] for one in bins]
        top = 1.05 * max(*predicted, *(c + e for c, e in zip(cost, error, strict=True)), 1e-9)
        axes.plot([0, top], [0, top], color=METHOD_STYLES["base"].light, linewidth=1, linestyle=(0, (4, 2)))
        axes.errorbar(predicted, cost, error, color=look.light, marker="o", linestyle="none", capsize=2)
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted cost", ylabel="cost")

    rows = sum(int(one["rows"]) for one in bins)
    label = f"Calibration: mean cost against mean predicted cost, in {len(bins)} bins of {rows} held-out rows."
    return make_standalone_svg(draw_svg(draw, {"rl": look, "base": METHOD_STYLES["base"]}, label, height=4.0))
