"""What the page's sections are built from."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from copydesk.report.columns import format_scenario_title
from copydesk.report.style import MethodStyle, exclude_oracle
from copydesk.report.svg import get_css_variable
from copydesk.report.terminal import format_cost


def capitalize_first(text: str) -> str:
    """The text with a capital letter in front."""
    return text[:1].upper() + text[1:]


def render_chip(name: str) -> str:
    """A small square in the colour of a method."""
    return f'<span class="chip" style="background: var({get_css_variable(name)})"></span>'


def render_legend(methods: Iterable[str], shown: Mapping[str, MethodStyle]) -> str:
    """The methods of a plot, each with its colour."""
    return f'<ul class="legend">{"".join(f"<li>{render_method_name(method, shown)}</li>" for method in methods)}</ul>'


def render_method_name(method: str, shown: Mapping[str, MethodStyle]) -> str:
    """A method's name beside its colour."""
    return f"{render_chip(method)}{escape(shown[method].label)}"


def render_table(caption: str, head: Sequence[str], rows: Sequence[str]) -> str:
    """A table that scrolls within itself where the screen is narrow. The rows are HTML, the rest is text."""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    return (
        f'<figure class="block"><figcaption><p>{escape(caption)}</p></figcaption><div class="scroll" tabindex="0">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></figure>"
    )


def render_row(head: str, cells: Iterable[str]) -> str:
    """A row of a table: what it is about as HTML, and the `<td>` cells."""
    return f'<tr><th scope="row">{head}</th>{"".join(cells)}</tr>'


def render_figure(title: str, note: str, legend: str, svg: str) -> str:
    """A plot with title, note and legend. Title and note are text, the rest is HTML."""
    return f"<figure><figcaption><h3>{escape(title)}</h3><p>{escape(note)}</p></figcaption>{svg}{legend}</figure>"


def find_lowest_mean(cells: Mapping[str, Mapping[str, Any]]) -> float:
    """The lowest mean among the methods one could choose."""
    return float(min((cells[method]["mean"] for method in exclude_oracle(cells)), default=0.0))


def render_cost_cell(cell: Mapping[str, Any] | None, least: float, below: str = "") -> str:
    """A cell of a table: a mean cost, in bold where it is the least, with HTML below it; a dash where there is none."""
    if cell is None:
        return "<td>–</td>"
    best = ' class="best"' if cell["mean"] == least else ""
    return f"<td{best}>{format_cost(cell)}{below}</td>"


def render_costs_table(caption: str, columns: Mapping[str, Mapping[str, Any]], shown: Mapping[str, MethodStyle]) -> str:
    """Methods by columns: mean costs. `columns` holds the cells by the title of each column."""
    least = [find_lowest_mean(cells) for cells in columns.values()]
    rows = [
        render_row(
            render_method_name(method, shown),
            [render_cost_cell(c.get(method), low) for c, low in zip(columns.values(), least, strict=True)],
        )
        for method in shown
        if any(method in cells for cells in columns.values())
    ]
    return render_table(caption, ["Method", *columns], rows)


def group_cells_by_title(results: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """The cells of some columns, by the column's title."""
    return {format_scenario_title(column): results["cells"][column] for column in columns}
