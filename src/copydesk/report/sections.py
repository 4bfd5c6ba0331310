"""The sections about the plain columns: a task and a user."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from copydesk.report import plots
from copydesk.report.columns import column_title
from copydesk.report.diff import diff_html
from copydesk.report.examples import Example, context_text, pick_examples
from copydesk.report.methods import Look, is_late, label_of
from copydesk.report.parts import by_title, capital, cost_cell, costs_table, figure, least_of, legend, named, row, table
from copydesk.report.results import saving
from copydesk.report.rounds import Round, arms_of
from copydesk.report.subopt import plain_columns
from copydesk.report.svg import css_name
from copydesk.report.table import MEASURE_FORMATS, saving_text


def columns_section(results: Mapping[str, Any], shown: Mapping[str, Look]) -> str:
    """All plain columns side by side, and Max SubOpt."""
    columns = by_title(results, plain_columns(results["columns"])) | {"Max SubOpt": results["max_subopt"]}
    caption = (
        "Mean edit cost ± standard deviation over seeds. Max SubOpt is the largest gap to the best method of a column."
    )
    return f"<section><h2>All tasks and users</h2>{costs_table(caption, columns, shown)}</section>"


def column_section(column: str, rounds: Sequence[Round], results: Mapping[str, Any], shown: Mapping[str, Look]) -> str:
    """One task with one user: table, plots, examples."""
    methods = list(results["cells"][column])
    lately = f"the last {plots.window(rounds)} rounds"
    figures = [
        figure("Edit cost over the rounds", f"Mean of {lately}. Lower is better.", "", plots.cost_over_rounds(rounds))
    ]
    arms = list(dict.fromkeys(arms_of(rounds).values()))
    for late in filter(is_late, methods):
        who, title = ("the late ensemble", "") if late == "late" else (shown[late].label, f": {shown[late].label}")
        note = f"Which policy {who} played: share of {lately}."
        figures.append(
            figure(f"Pulls of each arm{title}", note, legend(arms, shown), plots.pulls_over_rounds(rounds, late))
        )
    told = "none but the oracle" if "oracle" in methods else "no policy"
    note = f"What people want depends on the kind of document, which {told} is told."
    figures.append(figure("Edit cost by kind of document", note, legend(methods, shown), plots.cost_by_kind(rounds)))
    described = "".join(
        f"<div><dt>{named(m, shown)}</dt><dd>{escape(capital(shown[m].note))}.</dd></div>"
        for m in methods
        if shown[m].note
    )
    figures.append(f'<div><h3>The methods</h3><dl class="methods">{described}</dl></div>' if described else "")
    return (
        f"<section><h2>{escape(column_title(column))}</h2>{_methods_table(results['cells'][column], shown)}"
        f'<div class="plots block">{"".join(figures)}</div>{_examples(rounds, results)}</section>'
    )


def _methods_table(cells: Mapping[str, Mapping[str, Any]], shown: Mapping[str, Look]) -> str:
    most = max(cell["mean"] for cell in cells.values()) or 1.0
    least = least_of(cells)
    measures = [name for name in MEASURE_FORMATS if any(name in cell for cell in cells.values())]
    rows = []
    for method, cell in cells.items():
        bar = (
            f'<span class="bar" aria-hidden="true"><i style="width: {100 * cell["mean"] / most:.1f}%; '
            f'background: var({css_name(method)})"></i></span>'
        )
        others = [f"<td>{MEASURE_FORMATS[m][1].format(cell[m]) if m in cell else '–'}</td>" for m in measures]
        cost = cost_cell(cell, least, below=bar)
        rows.append(row(named(method, shown), [cost, f"<td>{saving_text(cells, method)}</td>", *others]))
    head = ["Method", "Edit cost", "Against base", *(MEASURE_FORMATS[name][0] for name in measures)]
    return table("Means over all rounds; lower cost is better, and the lowest is set in bold.", head, rows)


def _examples(rounds: Sequence[Round], results: Mapping[str, Any]) -> str:
    saved = saving(results)
    examples = pick_examples(rounds, saved.method) if saved else []
    if not examples:
        return ""
    intro = (
        '<div class="block"><h3>Before and after</h3><p class="soft">The same context, answered before learning and '
        "after. People <del>deleted this</del> and <ins>wrote this</ins>. These are ordinary rounds: of each kind of "
        "document, those whose saving is nearest to the median.</p></div>"
    )
    arms = arms_of(rounds)
    return intro + "".join(_example(example, arms) for example in examples)


def _example(example: Example, arms: Mapping[str, str]) -> str:
    after = example.after
    place = f"round {after['t']}, seed {after['seed']}"
    taste = f"<span>wants: {escape(after['taste'])}</span>" if isinstance(after.get("taste"), str) else ""
    return (
        f'<article class="example"><header><h3>{escape(capital(plots.label_of_kind(str(after["kind"]))))}</h3>'
        f"{taste}<span>{place}</span></header>"
        f'<div class="context"><div class="prose" tabindex="0">{escape(context_text(after["context"]))}</div></div>'
        f'<div class="sides">{_side("Before", example.before, arms)}{_side("After", after, arms)}</div></article>'
    )


def _side(when: str, played: Round, arms: Mapping[str, str]) -> str:
    label = label_of(str(played["method"]))
    if is_late(str(played["method"])):
        label += f", which played {label_of(arms[str(played['policy'])])}"
    verdict = "accepted as written" if played["edit"] == played["response"] else f"edit cost {played['cost']:.2f}"
    return (
        f"<div><h4>{when}: {escape(label)}</h4><p>{capital(verdict)}</p>"
        f'<div class="prose">{diff_html(str(played["response"]), str(played["edit"]))}</div></div>'
    )
