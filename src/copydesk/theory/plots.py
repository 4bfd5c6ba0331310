"""The plots of the lab's page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from copydesk.report.style import MethodStyle, get_method_label, method_styles
from copydesk.report.svg import RULE_COLOUR, draw_line, draw_svg
from copydesk.theory.experiments import SINGLE_FEEDBACK_LEARNERS, Curves, Grid, LabRegret, SlopeFit
from copydesk.theory.problem import Array
from copydesk.theory.text import find_significant_wins, format_nats, format_setting, is_ratio_defined

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOOR, CEILING = 1e-3, 1e3
"""Range in which SubOpt, as a share of SubOpt(π_ref), is drawn; smaller values are drawn at the floor."""
SMALL_FONT = 13.0
"""Font size of plots in rows of three, which the page shrinks."""
REGRET_POINTS = 150
"""Number of rounds drawn, evenly spaced on a log axis."""
_BOUND_DASHES = (0, (4, 2.5))


def plot_subopt_over_edits(curves: Curves, measured: Mapping[str, Array], bounds: Mapping[str, Array]) -> str:
    """Mean SubOpt over n on log axes, a line for each learner with a band between percentiles 10 and 90; bounds dashed.

    `measured` holds (R, N) for each learner, `bounds` (N,); all are divided by SubOpt(π_ref).
    """
    shown = method_styles(measured)

    def draw(axes: "Axes") -> None:
        axes.axhline(1, color=RULE_COLOUR, linewidth=1.2)
        for name, look in shown.items():
            _draw_line_and_band(axes, curves.log_sizes, measured[name] / curves.reference, FLOOR, name, look)
            if name in bounds:
                axes.plot(curves.log_sizes, bounds[name] / curves.reference, color=look.light, linewidth=1.2,
                          linestyle=_BOUND_DASHES)  # fmt: skip
        axes.set(xscale="log", yscale="log", ylim=(FLOOR * 0.8, CEILING))
        axes.minorticks_off()
        axes.set_xticks(curves.log_sizes, [f"{n:,}" for n in curves.log_sizes])
        powers = [10.0**k for k in range(-3, 4)]
        axes.set_yticks(powers, [f"≤ {FLOOR:g}", *(f"{power:,g}" for power in powers[1:])])
        axes.set_xlabel("n, the edits in the log", fontsize=SMALL_FONT)
        axes.tick_params(labelsize=SMALL_FONT)

    listed = ", ".join(look.label for look in shown.values())
    about = ", with bounds" if bounds else ", without a class"
    label = f"Line plot: SubOpt as a share of that of the reference policy over n, of {listed}{about}. "
    return draw_svg(draw, shown, label + format_setting(curves.setting), height=4.0)


def plot_winner_map(grid: Grid) -> str:
    """User by coverage: which method wins, and its SubOpt/β; in bold where the lead is significant."""
    shown = method_styles(SINGLE_FEEDBACK_LEARNERS)
    best = np.min([grid.measured[name].mean(axis=-1) for name in SINGLE_FEEDBACK_LEARNERS], axis=0) / grid.beta
    significant = find_significant_wins(grid)

    def draw(axes: "Axes") -> None:
        for s, a in np.ndindex(*grid.beta.shape):
            name = SINGLE_FEEDBACK_LEARNERS[grid.winner[s, a]]
            _draw_cell(axes, s, a, shown[name].light, 0.45)
            axes.text(a, s - 0.2, get_method_label(name), ha="center", va="center", fontsize=SMALL_FONT - 1)
            axes.text(a, s + 0.2, format_nats(float(best[s, a])), ha="center", va="center", fontsize=SMALL_FONT,
                      fontweight="bold" if significant[s, a] else "normal")  # fmt: skip
        _label_map_axes(axes, grid)

    label = f"Map: which of SFT, DPO and RL loses least, by user and coverage, with logs of {grid.n:,} edits."
    return _use_text_colour(draw_svg(draw, shown, label, height=5.0))


def plot_regret_map(grid: Grid, learner: str, largest: float) -> str:
    """User by coverage: regret of a learner to the winner in nats. `largest` has the darkest colour."""
    shown = method_styles(["base"])  # the grey of the page
    regret = grid.compute_regret(learner) / grid.beta

    def draw(axes: "Axes") -> None:
        for s, a in np.ndindex(*grid.beta.shape):
            share = regret[s, a] / largest if largest > 0 else 0.0
            _draw_cell(axes, s, a, shown["base"].light, 0.06 + 0.6 * float(np.clip(share, 0, 1)))
            axes.text(a, s, format_nats(float(regret[s, a])), ha="center", va="center", fontsize=SMALL_FONT)
        _label_map_axes(axes, grid)

    label = f"Map: regret of {get_method_label(learner)} to the winner, by user and coverage, with {grid.n:,} edits."
    return _use_text_colour(draw_svg(draw, shown, label, height=5.0))


def plot_slope_ratios(fits: Sequence[SlopeFit]) -> str:
    """The ratio of the two slopes of each fit, with its interval, on a log axis, and a line at 1.

    The fits must have a ratio above 0 (`is_drawable`). An interval that reaches 0 extends beyond the left edge.
    """
    shown = method_styles(["sft", "dpo"])
    lows = [fit.ratio.low for fit in fits if fit.ratio.low > 0]
    left = min([0.5, *(fit.ratio.value for fit in fits), *lows]) / 2
    right = max([2.0, *(fit.ratio.high for fit in fits)]) * 1.5

    def draw(axes: "Axes") -> None:
        axes.axvline(1, color=RULE_COLOUR, linewidth=1.6)
        for i, fit in enumerate(fits):
            colour = shown["dpo" if fit.axis == "coverage" else "sft"].light
            axes.plot([max(fit.ratio.low, left / 2), fit.ratio.high], [i, i], color=colour, linewidth=2)
            axes.plot([fit.ratio.value], [i], color=colour, marker="o", markersize=6)
            axes.annotate(f"{fit.axis}, {fit.subset}, n = {fit.n:,}", (0, i), xycoords=("axes fraction", "data"),
                          xytext=(0, 6), textcoords="offset points", va="bottom", fontsize=11)  # fmt: skip
        axes.set(
            xscale="log", xlim=(left, right), ylim=(len(fits) - 0.6, -0.9), yticks=[], xlabel="ratio of the slopes"
        )
        axes.minorticks_off()
        ticks = [tick for tick in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300) if left <= tick <= right]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])

    label = "Interval plot: the ratio of the slopes of DPO and SFT in each fit, with its 95% interval."
    return draw_svg(draw, shown, label, height=0.6 + 0.42 * len(fits))


def is_drawable(fit: SlopeFit) -> bool:
    """Whether the ratio is defined and can be drawn on a log axis."""
    return is_ratio_defined(fit) and 0 < fit.ratio.value < np.inf and fit.ratio.high < np.inf


def plot_lab_regret(regret: LabRegret) -> str:
    """Regret over the rounds for each α, with a band from the 10th to the 90th percentile; the bound is dashed."""
    shown = alpha_styles(regret)
    rounds = np.unique(np.geomspace(1, len(regret.bound), REGRET_POINTS).round().astype(int))
    last = [rows[:, -1].mean() for rows in regret.measured.values()]
    bottom = max(min(last), 1e-3) / 300

    def draw(axes: "Axes") -> None:
        for (name, look), rows in zip(shown.items(), regret.measured.values(), strict=True):
            _draw_line_and_band(axes, rounds, rows[:, rounds - 1], bottom, name, look)
        bounded = next(iter(shown.values())).light
        axes.plot(rounds, regret.bound[rounds - 1], color=bounded, linewidth=1.2, linestyle=_BOUND_DASHES)
        axes.set(
            xscale="log", yscale="log", xlim=(1, max(2, len(regret.bound))), ylim=(bottom, float(regret.bound[-1]) * 2)
        )
        axes.minorticks_off()
        ticks = [tick for tick in (1, 10, 100, 1_000, 10_000) if tick <= len(regret.bound)]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        powers = [10.0**k for k in range(-6, 7) if bottom <= 10.0**k <= regret.bound[-1] * 2]
        axes.set_yticks(powers, [f"{power:,g}" for power in powers])
        axes.set_xlabel("round", fontsize=SMALL_FONT)
        axes.tick_params(labelsize=SMALL_FONT, pad=7)

    label = f"Line plot: regret over the rounds of {', '.join(shown)}, and the bound. {format_setting(regret.setting)}"
    return draw_svg(draw, shown, label, height=4.0)


def alpha_styles(regret: LabRegret) -> dict[str, MethodStyle]:
    """The style of each α; the bound is drawn in the first one's colour."""
    return method_styles(f"α = {name}" for name in regret.measured)


def _draw_line_and_band(
    axes: "Axes", x: Sequence[int] | np.ndarray, rows: Array, bottom: float, name: str, look: MethodStyle
) -> None:
    """The mean of the rows and their 10th to 90th percentile; values below `bottom` are drawn there."""
    mean, low, high = (np.maximum(line, bottom) for line in (rows.mean(axis=0), *np.quantile(rows, [0.1, 0.9], axis=0)))
    draw_line(axes, x, mean, np.zeros_like(mean), name, look)
    axes.fill_between(x, low, high, color=look.light, alpha=0.13, linewidth=0)


def _draw_cell(axes: "Axes", row: int, column: int, colour: str, alpha: float) -> None:
    half = 0.48
    across = [column - half, column + half, column + half, column - half]
    axes.fill(across, [row - half, row - half, row + half, row + half], color=colour, alpha=alpha, linewidth=0)


def _label_map_axes(axes: "Axes", grid: Grid) -> None:
    rows, columns = grid.beta.shape
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.set_xticks(range(columns), [f"{distance:g}" for distance in grid.divergences])
    axes.set_yticks(range(rows), [f"{attention:g}" for attention in grid.attentions])
    axes.set_xlabel("coverage, from good to poor (nats)", fontsize=SMALL_FONT)
    axes.set_ylabel("p, from weak users to strong", fontsize=SMALL_FONT)
    axes.tick_params(labelsize=SMALL_FONT)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)


def _use_text_colour(svg: str) -> str:
    """The plot with text in the page's darker text colour, which is readable on coloured cells."""
    return svg.replace("<svg ", '<svg style="color: var(--text)" ', 1)
