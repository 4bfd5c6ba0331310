"""The page that every report is set in: one self-contained HTML file, legible in light and dark and on a phone."""

from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from string import Template

from copydesk.report.style import METHOD_STYLES, MethodStyle
from copydesk.report.svg import get_css_variable

COST_FOOTNOTE = (
    "Edit cost measures how much of a response people changed: 0 means it was accepted as written, and lower is better."
)


def render_html_page(
    *,
    title: str,
    eyebrow: str,
    headline: str,
    lead: str,
    sections: Iterable[str],
    shown: Mapping[str, MethodStyle],
    figures: str = "",
    details: str = "",
    footer: str = COST_FOOTNOTE,
    accent: MethodStyle = METHOD_STYLES["late"],
) -> str:
    """A whole page without a script or an external resource.

    `title`, `eyebrow` and `footer` are text; `headline`, `lead`, `figures`, `details` and the `sections` are HTML, and
    empty sections are left out. `shown` are the methods whose colours the sections' plots name (`draw_svg`).
    """
    template = Template(files("copydesk.report").joinpath("template.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title, quote=False),
        accent_light=accent.light,
        accent_dark=accent.dark,
        colours_light="\n".join(f"  {get_css_variable(name)}: {look.light};" for name, look in shown.items()),
        colours_dark="\n".join(f"    {get_css_variable(name)}: {look.dark};" for name, look in shown.items()),
        eyebrow=escape(eyebrow),
        headline=headline,
        lead=lead,
        figures=figures,
        sections="\n".join(filter(None, sections)),
        details=details,
        footer=escape(footer),
    )
