"""What each person pays with each method, as bars."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from copydesk.report.people import UserRow
from copydesk.report.style import method_styles
from copydesk.report.svg import draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
