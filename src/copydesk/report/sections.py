"""The sections about the plain columns: a task and a user."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from copydesk.report import plots
from copydesk.report.columns import format_scenario_title
from copydesk.report.diff import render_diff_html
from copydesk.report.examples import ExamplePair, format_chat_context, pick_examples
from copydesk.report.metrics import filter_plain_scenarios
from copydesk.report.parts import (
    capitalize_first,
    find_lowest_mean,
    group_cells_by_title,
    render_cost_cell,
    render_costs_table,
    render_figure,
    render_legend,
    render_method_name,
    render_row,
    render_table,
)
from copydesk.report.results import compute_cost_reduction
from copydesk.report.rounds import RoundRow, list_arms
from copydesk.report.style import MethodStyle, get_method_label, is_late
from copydesk.report.svg import get_css_variable
from copydesk.report.terminal import MEASURE_FORMATS, format_cost_reduction


def render_scenarios_section(results: Mapping[str, Any], shown: Mapping[str, MethodStyle]) -> str:
    """All plain columns side by side, and Max SubOpt."""
    columns = group_cells_by_title(results, filter_plain_scenarios(results["columns"])) | {
        "Max SubOpt": results["max_subopt"]
    }
    caption = (
        "Mean edit cost ± standard deviation over seeds. Max SubOpt is the largest gap to the best method of a column."
    )
    return f"<section><h2>All tasks and users</h2>{render_costs_table(caption, columns, shown)}</section>"


def render_scenario_section(
    column: str, rounds: Sequence[RoundRow], results: Mapping[str, Any], shown: Mapping[str, MethodStyle]
) -> str:
    """One task with one user: table, plots, examples."""
    methods = list(results["cells"][column])
    lately = f"the last {plots.choose_rolling_window(rounds)} rounds"
    figures = [
        render_figure(
            "Edit cost over the rounds", f"Mean of {lately}. Lower is better.", "", plots.plot_cost_over_rounds(rounds)
        )
    ]
    arms = list(dict.fromkeys(list_arms(rounds).values()))
    for late in filter(is_late, methods):
        who, title = ("the late ensemble", "") if late == "late" else (shown[late].label, f": {shown[late].label}")
        note = f"Which policy {who} played: share of {lately}."
        figures.append(
            render_figure(
                f"Pulls of each arm{title}",
                note,
                render_legend(arms, shown),
                plots.plot_pulls_over_rounds(rounds, late),
            )
        )
    told = "none but the oracle" if "oracle" in methods else "no policy"
    note = f"What people want depends on the kind of document, which {told} is told."
    figures.append(
        render_figure(
            "Edit cost by kind of document", note, render_legend(methods, shown), plots.plot_cost_by_kind(rounds)
        )
    )
    described = "".join(
        f"<div><dt>{render_method_name(m, shown)}</dt><dd>{escape(capitalize_first(shown[m].note))}.</dd></div>"
        for m in methods
        if shown[m].note
    )
    figures.append(f'<div><h3>The methods</h3><dl class="methods">{described}</dl></div>' if described else "")
    return (
        f"<section><h2>{escape(format_scenario_title(column))}</h2>{_render_methods_table(results['cells'][column], shown)}"
        f'<div class="plots block">{"".join(figures)}</div>{_render_examples(rounds, results)}</section>'
    )


def _render_methods_table(cells: Mapping[str, Mapping[str, Any]], shown: Mapping[str, MethodStyle]) -> str:
    most = max(cell["mean"] for cell in cells.values()) or 1.0
    least = find_lowest_mean(cells)
    measures = [name for name in MEASURE_FORMATS if any(name in cell for cell in cells.values())]
    rows = []
    for method, cell in cells.items():
        bar = (
            f'<span class="bar" aria-hidden="true"><i style="width: {100 * cell["mean"] / most:.1f}%; '
            f'background: var({get_css_variable(method)})"></i></span>'
        )
        others = [f"<td>{MEASURE_FORMATS[m][1].format(cell[m]) if m in cell else '–'}</td>" for m in measures]
        cost = render_cost_cell(cell, least, below=bar)
        rows.append(
            render_row(
                render_method_name(method, shown), [cost, f"<td>{format_cost_reduction(cells, method)}</td>", *others]
            )
        )
    head = ["Method", "Edit cost", "Against base", *(MEASURE_FORMATS[name][0] for name in measures)]
    return render_table("Means over all rounds; lower cost is better, and the lowest is set in bold.", head, rows)


def _render_examples(rounds: Sequence[RoundRow], results: Mapping[str, Any]) -> str:
    saved = compute_cost_reduction(results)
    examples = pick_examples(rounds, saved.method) if saved else []
    if not examples:
        return ""
    intro = (
        '<div class="block"><h3>Before and after</h3><p class="soft">The same context, answered before learning and '
        "after. People <del>deleted this</del> and <ins>wrote this</ins>. These are ordinary rounds: of each kind of "
        "document, those whose saving is nearest to the median.</p></div>"
    )
    arms = list_arms(rounds)
    return intro + "".join(_render_example(example, arms) for example in examples)


def _render_example(example: ExamplePair, arms: Mapping[str, str]) -> str:
    after = example.after
    place = f"round {after['t']}, seed {after['seed']}"
    taste = f"<span>wants: {escape(after['taste'])}</span>" if isinstance(after.get("taste"), str) else ""
    return (
        f'<article class="example"><header><h3>{escape(capitalize_first(plots.format_kind(str(after["kind"]))))}</h3>'
        f"{taste}<span>{place}</span></header>"
        f'<div class="context"><div class="prose" tabindex="0">{escape(format_chat_context(after["context"]))}</div></div>'
        f'<div class="sides">{_render_example_side("Before", example.before, arms)}{_render_example_side("After", after, arms)}</div></article>'
    )


def _render_example_side(when: str, played: RoundRow, arms: Mapping[str, str]) -> str:
    label = get_method_label(str(played["method"]))
    if is_late(str(played["method"])):
        label += f", which played {get_method_label(arms[str(played['policy'])])}"
    verdict = "accepted as written" if played["edit"] == played["response"] else f"edit cost {played['cost']:.2f}"
    return (
        f"<div><h4>{when}: {escape(label)}</h4><p>{capitalize_first(verdict)}</p>"
        f'<div class="prose">{render_diff_html(str(played["response"]), str(played["edit"]))}</div></div>'
    )
