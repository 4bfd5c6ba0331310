"""Plots without inline styles, which the pages' content security policy does not let through."""

import re

_STYLE = re.compile(r' style="([^"]*)"')
_STYLE_SHEET = re.compile(r"<style\b.*?</style>", re.DOTALL)
_MATPLOTLIB_IDS = re.compile(r' id="matplotlib\.[^"]*"')  # they would occur in every plot
_FONT_PROPERTIES = ("font", "font-family")  # of the page; its style sheet says it

SVG_ROOT = '<svg class="plot" stroke-linejoin="round" stroke-linecap="butt" '
"""What matplotlib's own style sheet says, where what is inherited can be overridden below."""


def strip_svg_styles(svg: str) -> str:
    """A drawing of `copydesk.report.svg.draw_svg` with presentation attributes in place of styles."""
    svg = _MATPLOTLIB_IDS.sub("", _STYLE_SHEET.sub("", svg))
    return _STYLE.sub(_style_to_attributes, svg).replace("<svg ", SVG_ROOT, 1)


def _style_to_attributes(style: re.Match[str]) -> str:
    pairs = (part.partition(":") for part in style[1].split(";") if part.strip())
    named = ((name.strip(), value.strip()) for name, _, value in pairs)
    return "".join(f' {name}="{value}"' for name, value in named if name not in _FONT_PROPERTIES)
