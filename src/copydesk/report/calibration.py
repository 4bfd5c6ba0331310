"""Whether responses of which a cost is predicted have that cost on average."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from copydesk.report.style import METHOD_STYLES
from copydesk.report.svg import draw_svg, make_standalone_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
