"""Drawings as SVG elements that belong to the page they are set into.

Text stays text and the colours of methods become CSS variables, so that a drawing follows its page into dark mode. The
plots of runs, of the theory and of the gateway are drawn with it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from copydesk.errors import InputError
from copydesk.report.style import LineStyle, MethodStyle, get_css_variable, is_late

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RULE_COLOUR = "#030201"
"""Stands for the page's colour of rules until the drawing is SVG."""
DASHES = (0, (4, 2))
_INK_PLACEHOLDER = "#010203"  # stands for the page's colour of text
_DASH_PATTERNS: dict[LineStyle, Any] = {
    "solid": "solid",
    "dashed": DASHES,
    "dotted": (0, (1, 1.2)),
    "dashdot": (0, (5, 1.5, 1, 1.5)),
}
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


def draw_curves(axes: "Axes", x: ArrayLike, curves: Sequence[ArrayLike], method: str, style: MethodStyle) -> float:
    """Draw the mean of one curve for each seed, with a band of one standard deviation where there are several.

    Returns:
        The height at which the line ends.
    """
    values: NDArray[np.float64] = np.array(curves, dtype=np.float64)
    mean = values.mean(axis=0)
    std = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
    draw_line(axes, x, mean, std, method, style)
    return float(mean[-1])


def draw_line(
    axes: "Axes",
    x: ArrayLike,
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    method: str,
    style: MethodStyle,
    marker: str = "",
) -> None:
    """Draw a method's line in its colour and dashes, late ensembles on top, and a band where `std` is not 0."""
    axes.plot(
        x,
        mean,
        color=style.light,
        linewidth=2.4 if method == "late" else 1.5,
        linestyle=_DASH_PATTERNS[style.line],
        marker=marker,
        markersize=3.5,
        zorder=3 if is_late(method) else 2,
    )
    if std.any():
        axes.fill_between(x, mean - std, mean + std, color=style.light, alpha=0.13, linewidth=0)


def label_lines(axes: "Axes", ends: Mapping[str, float], shown: Mapping[str, MethodStyle]) -> None:
    """Write each method's label to the right of the axes, where its line ends or just above another label."""
    bottom, top = axes.get_ylim()
    for name, height in spread_labels(ends, (top - bottom) * 0.075).items():
        axes.annotate(shown[name].label, (1, height), xycoords=("axes fraction", "data"), xytext=(5, 0),
                      textcoords="offset points", va="center", color=shown[name].light)  # fmt: skip


def spread_labels(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Move heights up just enough that labels put there are at least `gap` apart."""
    placed: dict[str, float] = {}
    floor = float("-inf")
    for name in sorted(heights, key=heights.__getitem__):
        placed[name] = floor = max(heights[name], floor + gap)
    return placed


def draw_svg(draw: "Callable[[Axes], None]", shown: Mapping[str, MethodStyle], label: str, height: float) -> str:
    """Draw a plot as an `<svg>` element for a page.

    Text stays text, in the page's font. The colours of the methods become CSS variables, so that the plot follows the
    page into dark mode. The same drawing always gives the same bytes.

    Args:
        draw: draws on axes 5.6 inches wide.
        shown: the style of each method whose colour is drawn, by its name.
        label: what the plot shows in words, for screen readers.
        height: of the axes, in inches.

    Returns:
        The element.

    Raises:
        InputError: matplotlib is not installed.
    """
    return draw_panels([draw], shown, label, height, width=5.6)


def draw_panels(
    draws: "Sequence[Callable[[Axes], None]]",
    shown: Mapping[str, MethodStyle],
    label: str,
    height: float,
    width: float = 11.2,
) -> str:
    """Draw panels side by side that share their vertical axis, as one `<svg>` element; see `draw_svg`.

    Args:
        draws: draw a panel each, from left to right.
        shown: the style of each method whose colour is drawn, by its name.
        label: what the plot shows in words, for screen readers.
        height: of the figure, in inches.
        width: of the figure, in inches.

    Returns:
        The element.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("the report's plots need matplotlib; run: pip install 'copydesk[report]'") from None
    written = StringIO()
    with rc_context({**_RC_PARAMS, "svg.hashsalt": label}):
        figure = Figure(figsize=(width, height), layout="constrained")
        panels = figure.subplots(1, len(draws), sharey=True, squeeze=False)[0]
        for axes, draw in zip(panels, draws, strict=True):
            draw(axes)
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"| id="[a-zA-Z0-9]+_\d+"', "", svg)  # ids that would occur in every plot
    svg = re.sub(
        r'<svg [^>]*(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{escape(label)}">', svg, count=1
    )
    svg = svg.replace(_INK_PLACEHOLDER, "currentColor").replace(RULE_COLOUR, "var(--rule, #8885)")
    for method, style in shown.items():
        svg = svg.replace(style.light, f"var({get_css_variable(method)}, {style.light})")
    return svg.strip()


def make_standalone_svg(svg: str) -> str:
    """Make a drawing of `draw_svg` the contents of a file: dark ink on white, in a common font."""
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    style = "color: #24292f; background: #fff; font-family: system-ui, sans-serif"
    return svg.replace("<svg ", f'<svg {namespaces} style="{style}" ', 1) + "\n"
