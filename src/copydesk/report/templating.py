"""Self-contained HTML pages from Jinja2 templates, and the plain data that their macros lay out.

A page's template extends `base.html.j2` and imports `macros.html.j2`, both in this package's `templates/`; a page of
another package keeps its template in a `templates/` folder of its own. Everything is escaped except `Markup`, the type
of plots.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from copydesk.report.style import get_css_variable, render_method_css


@dataclass(frozen=True)
class FigureView:
    """A plot with title and note, and below it a legend of the methods in `legend`; a wide one takes a whole row."""

    title: str
    note: str
    svg: Markup
    legend: Sequence[str] = ()
    wide: bool = False


@dataclass(frozen=True)
class BarView:
    """A bar below a figure: how much of the width it takes, from 0 to 1, in the colour of a method."""

    share: float
    method: str


@dataclass(frozen=True)
class CellView:
    """A cell of a table.

    Attributes:
        text: what it says.
        method: a method whose label, beside its colour, comes before the text.
        best: whether it is set in bold.
        below: a second line, in small type.
        bar: a bar below the text.
    """

    text: str = ""
    method: str = ""
    best: bool = False
    below: str = ""
    bar: BarView | None = None


@dataclass(frozen=True)
class RowView:
    """A row of a table: its head, which may span several rows (`None` in the rows it spans), and the other cells."""

    head: CellView | str | None
    cells: Sequence[CellView | str]
    span: int = 1


@dataclass(frozen=True)
class TableView:
    """A table with a caption and a title above each column."""

    caption: str
    head: Sequence[str]
    rows: Sequence[RowView]


def render_template(name: str, *, package: str = "copydesk.report", **context: Any) -> str:
    """Render a page.

    Args:
        name: the template's file name.
        package: the package whose `templates/` folder holds it.
        context: what the template shows; a name it uses and does not find here is an error.

    Returns:
        The page as HTML.
    """
    return make_environment(package).get_template(name).render(context)


@cache
def make_environment(package: str = "copydesk.report") -> Environment:
    """The Jinja2 environment for the templates of a package, with those of `copydesk.report` behind them.

    Filters: `css_variable` (method name → CSS variable of its colour) and `method_css` (styles by name → CSS rules that
    set these variables).
    """
    packages = dict.fromkeys([package, "copydesk.report"])
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(css_variable=get_css_variable, method_css=render_method_css)
    return environment


def capitalize_first(text: str) -> str:
    """The text with a capital letter in front."""
    return text[:1].upper() + text[1:]
