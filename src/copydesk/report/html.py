"""One self-contained page about a run: what was saved, which method did it, and what that looks like."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from copydesk.log.files import atomic_write
from copydesk.report import plots
from copydesk.report.diff import diff_html
from copydesk.report.examples import Example, context_text, pick_examples
from copydesk.report.methods import KNOWN, Look, label_of, looks
from copydesk.report.results import Round, Saving, arms_of, column_of, saving
from copydesk.report.svg import css_name
from copydesk.report.table import MEASURE_FORMATS, column_title, cost_text, saving_text


def write_report(path: Path, rounds: Sequence[Round], results: Mapping[str, Any]) -> None:
    """Write report.html: no script, no external resource, legible in light and dark and on a phone.

    `results` is what `summarize` made of `rounds`. The file appears whole or not at all. Raises InputError when it
    cannot be written or matplotlib is missing.
    """
    page = render(rounds, results)
    with atomic_write(path) as file:
        file.write(page)


def render(rounds: Sequence[Round], results: Mapping[str, Any]) -> str:
    """The page `write_report` writes."""
    shown = looks([*results["methods"], *arms_of(rounds).values()])
    saved = saving(results)
    accent = shown[saved.method] if saved else KNOWN["late"]
    columns: list[str] = results["columns"]
    headline = _sentence(saved.words) if saved else "How much people edit."
    if saved and "%" in headline:
        share = next(word for word in headline.split() if word.endswith("%"))
        headline = headline.replace(share, f"<em>{share}</em>")
    sections = [_columns_section(results, shown)] if len(columns) > 1 else []
    for column in columns:
        here = [played for played in rounds if column_of(played) == column]
        sections.append(_section(column, here, results, shown))
    template = Template(files("copydesk.report").joinpath("template.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=_sentence(saved.words) if saved else "Edit report",
        accent_light=accent.light,
        accent_dark=accent.dark,
        colours_light="\n".join(f"  {css_name(name)}: {look.light};" for name, look in shown.items()),
        colours_dark="\n".join(f"    {css_name(name)}: {look.dark};" for name, look in shown.items()),
        eyebrow=escape("Copydesk report · " + ", ".join(column_title(column) for column in columns)),
        headline=headline,
        lead=_lead(saved, results),
        figures=_figures(saved, results),
        sections="\n".join(sections),
        details=_details("Settings", results["settings"]) + _details("Seconds", results["seconds"]),
    )


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def _lead(saved: Saving | None, results: Mapping[str, Any]) -> str:
    cells = [cell for column in results["cells"].values() for cell in column.values()]
    seeds = max(len(cell["per_seed"]) for cell in cells)
    rounds = max(round(cell["rounds"] / len(cell["per_seed"])) for cell in cells)
    over = f"over {rounds} rounds" + (f" with each of {seeds} seeds" if seeds > 1 else "")
    if saved is None:
        return f"Mean edit cost of each method, {over}."
    verb = "fell" if saved.after < saved.before else "went"
    who, note = label_of(saved.method), ""
    if saved.method == "late":
        who, note = "the late ensemble", " The rounds it spent on trying out policies are counted."
    return escape(
        f"The mean edit cost {verb} from {saved.before:.2f} with the base model to {saved.after:.2f} with "
        f"{who}, {over}.{note}"
    )


def _figures(saved: Saving | None, results: Mapping[str, Any]) -> str:
    """What changed from the baseline to the method, in a few large numbers; only where there is one column."""
    if saved is None or len(results["columns"]) > 1:
        return ""
    cells = results["cells"][results["columns"][0]]
    before, after = cells[saved.baseline], cells[saved.method]
    items = [("Edit cost", f"{before['mean']:.2f}", f"{after['mean']:.2f}")]
    for name, title in (("accepted", "Accepted as written"), ("facts", "Facts right"), ("malformed", "Malformed")):
        if name in before and name in after:
            items.append((title, f"{before[name]:.0%}", f"{after[name]:.0%}"))
    return '<dl class="figures">' + "".join(
        f'<div><dt>{title}</dt><dd><span class="from">{old} <span aria-hidden="true">→</span>'
        f'<span class="unseen">to</span></span> {new}</dd></div>'
        for title, old, new in items
    ) + "</dl>"  # fmt: skip


def _chip(name: str) -> str:
    return f'<span class="chip" style="background: var({css_name(name)})"></span>'


def _table(caption: str, head: Sequence[str], rows: Sequence[str]) -> str:
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    return (
        f'<figure class="block"><figcaption><p>{escape(caption)}</p></figcaption><div class="scroll" tabindex="0">'
        f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></figure>"
    )


def _columns_section(results: Mapping[str, Any], shown: Mapping[str, Look]) -> str:
    """All columns side by side, and Max SubOpt."""
    rows = []
    columns = [*results["cells"].values(), results["max_subopt"]]
    best = [min(cell["mean"] for cell in column.values()) for column in columns]
    for method in results["methods"]:
        cells = "".join(_cost_cell(column.get(method), least) for column, least in zip(columns, best, strict=True))
        rows.append(f'<tr><th scope="row">{_chip(method)}{escape(shown[method].label)}</th>{cells}</tr>')
    head = ["Method", *(column_title(column) for column in results["columns"]), "Max SubOpt"]
    caption = (
        "Mean edit cost ± standard deviation over seeds. Max SubOpt is the largest gap to the best method of a column."
    )
    return f"<section><h2>All tasks and users</h2>{_table(caption, head, rows)}</section>"


def _cost_cell(cell: Mapping[str, Any] | None, least: float) -> str:
    if cell is None:
        return "<td>–</td>"
    best = ' class="best"' if cell["mean"] == least else ""
    return f"<td{best}>{cost_text(cell)}</td>"


def _section(column: str, rounds: Sequence[Round], results: Mapping[str, Any], shown: Mapping[str, Look]) -> str:
    """One task with one user: table, plots, examples."""
    legend = '<ul class="legend">{}</ul>'
    methods = legend.format("".join(f"<li>{_chip(m)}{escape(shown[m].label)}</li>" for m in results["cells"][column]))
    figures = [
        _figure(
            "Edit cost over the rounds",
            f"Mean of the last {plots.window(rounds)} rounds. Lower is better.",
            "",
            plots.cost_over_rounds(rounds),
        )
    ]
    arms = list(dict.fromkeys(arms_of(rounds).values()))
    if arms:
        chips = legend.format("".join(f"<li>{_chip(arm)}{escape(shown[arm].label)}</li>" for arm in arms))
        note = f"Which policy the late ensemble played: share of the last {plots.window(rounds)} rounds."
        figures.append(_figure("Pulls of each arm", note, chips, plots.pulls_over_rounds(rounds)))
    note = "What people want depends on the kind of document, which no policy is told."
    figures.append(_figure("Edit cost by kind of document", note, methods, plots.cost_by_kind(rounds)))
    described = "".join(
        f"<div><dt>{_chip(m)}{escape(shown[m].label)}</dt><dd>{escape(_capital(shown[m].note))}.</dd></div>"
        for m in results["cells"][column]
        if shown[m].note
    )
    figures.append(f'<div><h3>The methods</h3><dl class="methods">{described}</dl></div>' if described else "")
    plots_html = f'<div class="plots block">{"".join(figures)}</div>'
    return (
        f"<section><h2>{escape(column_title(column))}</h2>"
        f"{_methods_table(results['cells'][column], shown)}{plots_html}{_examples(rounds, results)}</section>"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _methods_table(cells: Mapping[str, Mapping[str, Any]], shown: Mapping[str, Look]) -> str:
    most = max(cell["mean"] for cell in cells.values()) or 1.0
    least = min(cell["mean"] for cell in cells.values())
    measures = [name for name in MEASURE_FORMATS if any(name in cell for cell in cells.values())]
    rows = []
    for method, cell in cells.items():
        bar = (
            f'<span class="bar" aria-hidden="true"><i style="width: {100 * cell["mean"] / most:.1f}%; '
            f'background: var({css_name(method)})"></i></span>'
        )
        best = ' class="best"' if cell["mean"] == least else ""
        others = "".join(f"<td>{MEASURE_FORMATS[m][1].format(cell[m]) if m in cell else '–'}</td>" for m in measures)
        rows.append(
            f'<tr><th scope="row">{_chip(method)}{escape(shown[method].label)}</th>'
            f"<td{best}>{cost_text(cell)}{bar}</td><td>{saving_text(cells, method)}</td>{others}</tr>"
        )
    head = ["Method", "Edit cost", "Against base", *(MEASURE_FORMATS[name][0] for name in measures)]
    return _table("Means over all rounds; lower cost is better, and the lowest is set in bold.", head, rows)


def _figure(title: str, note: str, legend: str, svg: str) -> str:
    return f"<figure><figcaption><h3>{title}</h3><p>{note}</p></figcaption>{svg}{legend}</figure>"


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
        f'<article class="example"><header><h3>{escape(_capital(plots.label_of_kind(str(after["kind"]))))}</h3>'
        f"{taste}<span>{place}</span></header>"
        f'<div class="context"><div class="prose" tabindex="0">{escape(context_text(after["context"]))}</div></div>'
        f'<div class="sides">{_side("Before", example.before, arms)}{_side("After", after, arms)}</div></article>'
    )


def _side(when: str, played: Round, arms: Mapping[str, str]) -> str:
    label = label_of(str(played["method"]))
    if played["method"] == "late":
        label += f", which played {label_of(arms[str(played['policy'])])}"
    verdict = "accepted as written" if played["edit"] == played["response"] else f"edit cost {played['cost']:.2f}"
    return (
        f"<div><h4>{when}: {escape(label)}</h4><p>{_capital(verdict)}</p>"
        f'<div class="prose">{diff_html(str(played["response"]), str(played["edit"]))}</div></div>'
    )


def _details(title: str, values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(_value(value))}</td></tr>'
        for name, value in _flat(values).items()
    )
    return f"<details><summary>{title}</summary><table><tbody>{rows}</tbody></table></details>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return flat


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
