"""Plots of a run as SVG that belongs to the page it is set into.

Costs, running means and pulls over the rounds, costs by kind of document and by user, regret, sweeps, and the
calibration of a cost model.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from copydesk.report.metrics import compute_regrets
from copydesk.report.results import Sweep, UserRow
from copydesk.report.rounds import RoundRow, list_arms, list_methods
from copydesk.report.style import METHOD_STYLES, MethodStyle, get_method_label, is_late, method_styles
from copydesk.report.svg import (
    DASHES,
    RULE_COLOUR,
    draw_curves,
    draw_line,
    draw_panels,
    draw_svg,
    label_lines,
    make_standalone_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_WINDOW = 20
"""Rounds in a rolling mean, where a run is long enough."""
CALIBRATION_FILE = "calibration.svg"
"""The name of the calibration plot in a cost model's folder."""
SWEEP_AXIS_LABELS = {
    "p": "p, the strength of the user",
    "n": "n, the edits in the log",
    "attention": "probability that a preference is attended to",
}


def plot_cost_over_rounds(rounds: Sequence[RoundRow]) -> str:
    """Plot the rolling mean of the cost, a line for each method; with several seeds a band of one std.

    Args:
        rounds: of one column, of any number of methods and seeds.

    Returns:
        An `<svg>` element.

    Raises:
        InputError: matplotlib is not installed.
    """
    shown = method_styles(list_methods(rounds))

    def draw(axes: "Axes") -> None:
        ends = {}
        for name, style in shown.items():
            seeds = _group_by_seed([played for played in rounds if played["method"] == name])
            length = min(len(played) for played in seeds)
            width = min(choose_rolling_window(rounds), length)
            curves = [_rolling_mean([one["cost"] for one in played[:length]], width) for played in seeds]
            ends[name] = draw_curves(axes, np.arange(width, length + 1), curves, name, style)
        axes.set(xlabel="round", xlim=(1, max(2, *(int(played["t"]) for played in rounds))))
        axes.set_ylim(bottom=0)
        label_lines(axes, ends, shown)

    label = f"Line plot: rolling mean edit cost over the rounds of {_join_labels(shown)}."
    return draw_svg(draw, shown, label, height=3.0)


def plot_running_cost(rounds: Sequence[RoundRow]) -> str:
    """Plot the mean cost of all rounds so far of each late ensemble and each arm, as the paper's figure 2 does.

    The lines start at round `get_running_start`; with several seeds they have a band of one std.

    Args:
        rounds: of one column, of any number of methods and seeds.

    Returns:
        An `<svg>` element.

    Raises:
        InputError: matplotlib is not installed.
    """
    arms = set(list_arms(rounds).values())
    shown = method_styles(method for method in list_methods(rounds) if is_late(method) or method in arms)
    start = get_running_start(rounds)

    def draw(axes: "Axes") -> None:
        ends = {}
        for name, style in shown.items():
            seeds = _group_by_seed([played for played in rounds if played["method"] == name])
            length = min(len(played) for played in seeds)
            x = np.arange(1, length + 1)
            curves = [np.cumsum([one["cost"] for one in played[:length]]) / x for played in seeds]
            ends[name] = draw_curves(axes, x[start - 1 :], [curve[start - 1 :] for curve in curves], name, style)
        axes.set(xlabel="round", ylabel="mean edit cost so far")
        axes.set_xlim(start, max(start + 1, *(int(played["t"]) for played in rounds)))
        axes.set_ylim(bottom=0)
        label_lines(axes, ends, shown)

    label = f"Line plot: mean edit cost of all rounds so far, over the rounds, of {_join_labels(shown)}."
    return draw_svg(draw, shown, label, height=3.0)


def get_running_start(rounds: Iterable[RoundRow]) -> int:
    """The round at which running means start: the first is too noisy to show, and a tenth of a short run is enough."""
    return max(1, min(10, max(int(played["t"]) for played in rounds) // 10))


def plot_pulls_over_rounds(rounds: Sequence[RoundRow], method: str = "late") -> str:
    """Plot which arm a late ensemble played: shares of a rolling window of rounds, stacked, averaged over seeds.

    Args:
        rounds: of one column, of any number of methods and seeds.
        method: the late ensemble.

    Returns:
        An `<svg>` element.

    Raises:
        InputError: matplotlib is not installed.
    """
    seeds = _group_by_seed([played for played in rounds if played["method"] == method])
    arms = list_arms(rounds)
    shown = method_styles(arms.values())

    def draw(axes: "Axes") -> None:
        length = min(len(played) for played in seeds)
        width = min(choose_rolling_window(rounds), length)
        shares = [
            np.mean(
                [_rolling_mean([arms[one["policy"]] == arm for one in played[:length]], width) for played in seeds], 0
            )
            for arm in shown
        ]
        colours = [style.light for style in shown.values()]
        axes.stackplot(np.arange(width, length + 1), shares, colors=colours, alpha=0.9)
        axes.set(xlabel="round", xlim=(width, max(length, width + 1)), ylim=(0, 1), yticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_yticklabels(["0%", "25%", "50%", "75%", "100%"])

    name = get_method_label(method)
    label = f"Area plot: how the rounds of {name} are shared among {_join_labels(shown)}, over the rounds."
    return draw_svg(draw, shown, label, height=3.0)


def plot_cost_by_kind(rounds: Sequence[RoundRow]) -> str:
    """Plot the mean cost for each kind of document, a bar for each method.

    Args:
        rounds: of one column, of any number of methods and seeds.

    Returns:
        An `<svg>` element.

    Raises:
        InputError: matplotlib is not installed.
    """
    shown = method_styles(list_methods(rounds))
    kinds = sorted({str(played["kind"]) for played in rounds})
    means: dict[str, list[float]] = {}
    for name in shown:
        costs = [
            [one["cost"] for one in rounds if one["method"] == name and str(one["kind"]) == kind] for kind in kinds
        ]
        means[name] = [fmean(found) if found else 0.0 for found in costs]
    label = f"Bar plot: mean edit cost of {_join_labels(shown)}, for each of {len(kinds)} kinds of document."
    return _plot_bars([format_kind(kind) for kind in kinds], means, shown, label)


def plot_cost_by_user(rows: Sequence[UserRow]) -> str:
    """Plot the mean cost of each person, a bar for each method.

    Returns:
        An `<svg>` element.

    Raises:
        InputError: matplotlib is not installed.
    """
    shown = method_styles(rows[0].cells)
    means = {name: [row.cells[name]["mean"] for row in rows] for name in shown}
    label = f"Bar plot: mean edit cost of {_join_labels(shown)}, for each of {len(rows)} people."
    return _plot_bars([f"{row.name}, {row.edits} edits" for row in rows], means, shown, label)


def _plot_bars(
    groups: Sequence[str], means: Mapping[str, Sequence[float]], shown: Mapping[str, MethodStyle], label: str
) -> str:
    """Plot a group of bars below each title in `groups`, one bar for each method, whose means are in the same order."""
    thickness = 0.7 / len(shown)

    def draw(axes: "Axes") -> None:
        for i, (name, style) in enumerate(shown.items()):
            places = [group + i * thickness for group in range(len(groups))]
            axes.barh(places, means[name], height=thickness * 0.84, color=style.light)
        for group, title in enumerate(groups):
            axes.annotate(title, (0, group - thickness / 2), xytext=(0, 4), textcoords="offset points", va="bottom")
        axes.set(ylim=(len(groups) - 1 + 0.72, -0.4), yticks=[])
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")

    return draw_svg(draw, shown, label, height=0.35 + len(groups) * (0.4 + 0.15 * len(shown)))


def plot_regret_over_rounds(rounds: Sequence[RoundRow], change_round: float | None = None) -> str:
    """Plot the regret so far of each late ensemble, with a band of one std over seeds.

    Args:
        rounds: of one column, of any number of methods and seeds.
        change_round: the last round of the first user, after which a vertical rule marks the change.

    Returns:
        An `<svg>` element.

    Raises:
        InputError: matplotlib is not installed.
    """
    regrets = compute_regrets(rounds)
    shown = method_styles(regrets)

    def draw(axes: "Axes") -> None:
        ends = {}
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


def plot_cost_over_sweep(sweep: Sweep) -> str:
    """Plot the mean cost over what is varied, n on a log axis: a line for each method, with a band of one std.

    Returns:
        An `<svg>` element.

    Raises:
        InputError: matplotlib is not installed.
    """
    shown = method_styles(sweep.methods)

    def draw(axes: "Axes") -> None:
        ends = _draw_sweep(axes, sweep, shown)
        axes.set_ylabel("edit cost")
        axes.set_ylim(bottom=0)
        label_lines(axes, ends, shown)

    axis_label = SWEEP_AXIS_LABELS[sweep.symbol]
    label = f"Line plot: mean edit cost over {axis_label}, of {_join_labels(shown)}. {sweep.title}."
    return draw_svg(draw, shown, label, height=3.6)


def plot_cost_over_sweeps(sweeps: Sequence[Sweep], titles: Sequence[str]) -> str:
    """Plot sweeps of the same thing side by side, as `plot_cost_over_sweep` does, with one vertical axis.

    Args:
        sweeps: a panel each.
        titles: of the panels.

    Returns:
        An `<svg>` element.

    Raises:
        InputError: matplotlib is not installed.
    """
    shown = method_styles(method for sweep in sweeps for method in sweep.methods)
    cells = [cell for sweep in sweeps for cells in sweep.cells.values() for cell in cells.values()]
    top = 1.05 * max(cell["mean"] + cell["std"] for cell in cells) or 1.0

    def draw_panel(axes: "Axes", sweep: Sweep, title: str) -> None:
        ends = _draw_sweep(axes, sweep, shown)
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_ylim(0, top)
        label_lines(axes, ends, shown)

    draws = [partial(draw_panel, sweep=sweep, title=title) for sweep, title in zip(sweeps, titles, strict=True)]
    axis_label = SWEEP_AXIS_LABELS[sweeps[0].symbol]
    label = f"Line plots: mean edit cost over {axis_label}, of {_join_labels(shown)}. {', '.join(titles)}."
    return draw_panels(draws, shown, label, height=3.8)


def _draw_sweep(axes: "Axes", sweep: Sweep, shown: Mapping[str, MethodStyle]) -> dict[str, float]:
    """Draw the lines of a sweep and its horizontal axis; returns the height at which each line ends."""
    ends = {}
    for name in sweep.methods:
        values, cells = zip(*sweep.curve(name), strict=True)
        mean, std = (np.array([cell[figure] for cell in cells]) for figure in ("mean", "std"))
        draw_line(axes, values, mean, std, name, shown[name], marker="o")
        ends[name] = float(mean[-1])
    points = list(sweep.cells)
    if sweep.symbol == "n":
        axes.set_xscale("log")
        axes.set_xticks(points, [sweep.format_value(value) for value in points])
        axes.set_xticks([], minor=True)
    axes.set_xlabel(SWEEP_AXIS_LABELS[sweep.symbol])
    return ends


def plot_calibration(bins: Sequence[Mapping[str, float]]) -> str:
    """Plot mean cost against mean prediction, a point for each bin with two standard errors, and the diagonal.

    Args:
        bins: each with `rows`, `predicted`, `cost` and `error`, as `cost_model.json` holds them.

    Returns:
        The contents of an SVG file.

    Raises:
        InputError: matplotlib is not installed.
    """
    style = METHOD_STYLES["rl"]

    def draw(axes: "Axes") -> None:
        predicted, cost = [one["predicted"] for one in bins], [one["cost"] for one in bins]
        error = [2 * one["error"] for one in bins]
        top = 1.05 * max(*predicted, *(c + e for c, e in zip(cost, error, strict=True)), 1e-9)
        axes.plot([0, top], [0, top], color=METHOD_STYLES["base"].light, linewidth=1, linestyle=DASHES)
        axes.errorbar(predicted, cost, error, color=style.light, marker="o", linestyle="none", capsize=2)
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted cost", ylabel="cost")

    rows = sum(int(one["rows"]) for one in bins)
    label = f"Calibration: mean cost against mean predicted cost, in {len(bins)} bins of {rows} held-out rows."
    return make_standalone_svg(draw_svg(draw, {"rl": style, "base": METHOD_STYLES["base"]}, label, height=4.0))


def choose_rolling_window(rounds: Iterable[RoundRow]) -> int:
    """How many rounds the rolling means are over: `MAX_WINDOW`, or a third of the run when it is short."""
    return max(1, min(MAX_WINDOW, max(int(played["t"]) for played in rounds) // 3))


def format_kind(kind: str) -> str:
    """A document kind for people: `peer_review` is `peer review`."""
    return kind.replace("_", " ")


def _join_labels(shown: Mapping[str, MethodStyle]) -> str:
    return ", ".join(style.label for style in shown.values())


def _group_by_seed(rounds: Sequence[RoundRow]) -> list[list[RoundRow]]:
    seeds = sorted({int(one["seed"]) for one in rounds})
    return [sorted((one for one in rounds if one["seed"] == seed), key=lambda one: int(one["t"])) for seed in seeds]


def _rolling_mean(values: Sequence[float], width: int) -> NDArray[np.float64]:
    """Means of each `width` neighbours, (N,) → (N - width + 1,); the first is that of rounds 1 to `width`."""
    return np.convolve(np.asarray(values, dtype=np.float64), np.full(width, 1 / width), mode="valid")
