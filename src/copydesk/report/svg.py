"""One plot as SVG that belongs to the page it is set into."""

import re
from collections.abc import Callable, Mapping
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from copydesk.errors import InputError
from copydesk.report.style import MethodStyle

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


def get_css_variable(name: str) -> str:
    """The CSS variable that holds a method's colour."""
    return "--method-" + re.sub(r"[^a-z0-9]", lambda sign: f"_{ord(sign[0]):x}", name.lower())


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
