"""The base template of all pages and its macros."""

import pytest
from jinja2 import ChoiceLoader, DictLoader, UndefinedError
from markupsafe import Markup

from copydesk.report.diff import compute_diff
from copydesk.report.style import METHOD_STYLES, method_styles
from copydesk.report.templating import BarView, CellView, FigureView, RowView, TableView, make_environment

PAGE = """{% extends "base.html.j2" %}
{% import "macros.html.j2" as ui with context %}
{% block content %}"""


def render(body: str, **context: object) -> str:
    """What a page's content block makes of `body`."""
    loader = ChoiceLoader([DictLoader({"page": PAGE + body + "{% endblock %}"}), make_environment().loader])  # type: ignore[list-item]
    head = {"title": "<t>", "eyebrow": "<e>", "headline": "<h>", "lead": "<l>"}
    styles = method_styles(["sft", "dpo"])
    page = make_environment().overlay(loader=loader).get_template("page")
    return page.render(head, shown=styles, accent=styles["dpo"], **context)


def test_a_page_has_its_head_escaped_and_the_colours_of_its_methods() -> None:
    page = render("here")
    assert "<title>&lt;t&gt;</title>" in page
    assert '<p class="eyebrow">&lt;e&gt;</p>\n<h1>&lt;h&gt;</h1>\n<p class="lead">&lt;l&gt;</p>' in page
    dpo = METHOD_STYLES["dpo"]
    assert f":root {{ --accent: {dpo.light}; }}" in page and f":root {{ --accent: {dpo.dark}; }}" in page
    assert f"--method-sft: {METHOD_STYLES['sft'].light}; --method-dpo: {dpo.light};" in page
    assert "</header>\nhere<section" in page


def test_a_missing_name_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="missing"):
        render("{{ missing }}")


def test_tables_hold_text_methods_bars_and_heads_that_span_rows() -> None:
    cell = CellView("1", best=True, below="<2>", bar=BarView(0.5, "dpo"))
    table = TableView("<c>", ["<h>"], [RowView(CellView(method="sft"), [cell], span=2), RowView(None, ["<x>"])])
    page = render("{{ ui.table(table) }}", table=table)
    assert "<figcaption><p>&lt;c&gt;</p></figcaption>" in page and '<th scope="col">&lt;h&gt;</th>' in page
    head = '<tr><th scope="row" rowspan="2"><span class="chip" style="background: var(--method-sft)"></span>SFT</th>'
    bar = '<span class="bar" aria-hidden="true"><i style="width: 50.0%; background: var(--method-dpo)"></i></span>'
    assert f'{head}<td class="best">1<br><small>&lt;2&gt;</small>{bar}</td></tr>\n<tr><td>&lt;x&gt;</td></tr>' in page


def test_figures_hold_plots_as_they_are_and_legends_only_where_methods_are_named() -> None:
    plain = FigureView("<t>", "<n>", Markup("<svg></svg>"))
    html = "<figure><figcaption><h3>&lt;t&gt;</h3><p>&lt;n&gt;</p></figcaption><svg></svg>{}</figure>"
    assert html.format("") in render("{{ ui.figure(view) }}", view=plain)
    legend = '<ul class="legend"><li><span class="chip" style="background: var(--method-dpo)"></span>DPO</li></ul>'
    drawn = FigureView("<t>", "<n>", Markup("<svg></svg>"), ["dpo"])
    grid = render("{% call ui.plots([view], style='gap: 1px') %}more{% endcall %}", view=drawn)
    assert f'<div class="plots block" style="gap: 1px">{html.format(legend)}more</div>' in grid


def test_lists_of_figures_and_definitions_are_escaped() -> None:
    page = render("{{ ui.key_figures(items) }}", items=[("<a>", "<b>"), ("c", ("1", "2"))])
    assert "<dt>&lt;a&gt;</dt><dd>&lt;b&gt;</dd>" in page and '<span class="from">1 ' in page
    assert "<dt>&lt;a&gt;</dt><dd>&lt;b&gt;</dd>" in render("{{ ui.definitions([('<a>', '<b>')]) }}")
    details = '<details><summary>&lt;s&gt;</summary><table><tbody><tr><th scope="row">&lt;a&gt;</th><td>&lt;b&gt;</td>'
    assert details in render("{{ ui.details('<s>', [('<a>', '<b>')]) }}")


@pytest.mark.parametrize(
    ("part", "expected"), [("5%", "&lt;b&gt; <em>5%</em> 5%"), ("", "&lt;b&gt; 5% 5%"), ("6%", "&lt;b&gt; 5% 5%")]
)
def test_part_of_a_text_is_emphasized_once(part: str, expected: str) -> None:
    assert f"|{expected}|" in render("|{{ ui.emphasize('<b> 5% 5%', part) }}|", part=part)


def test_differences_are_marked_and_escaped() -> None:
    body = "|{{ ui.diff(segments) }}|"
    page = render(body, segments=compute_diff("a <b> c", "a <i> c"))
    assert "|a &lt;<del>b</del><ins>i</ins>&gt; c|" in page
    assert "<script>" not in render(body, segments=compute_diff("<script>alert(1)</script>", "fine"))
