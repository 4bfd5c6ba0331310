"""One self-contained page about a run: what was saved, which method did it, and what that looks like."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from copydesk.report.columns import Scenario, parse_scenario
from copydesk.report.page import render_html_page
from copydesk.report.paper_section import render_paper_section
from copydesk.report.people import is_personal_run
from copydesk.report.people_section import render_users_section
from copydesk.report.results import CostReduction, compute_cost_reduction
from copydesk.report.rounds import RoundRow, group_by_scenario, list_arms
from copydesk.report.sections import render_scenario_section, render_scenarios_section
from copydesk.report.shift_section import render_shift_section
from copydesk.report.style import METHOD_STYLES, get_method_label, is_late, method_styles
from copydesk.report.sweep_section import render_sweeps_section
from copydesk.utils.atomic import atomic_write


def write_report(path: Path, rounds: Sequence[RoundRow], results: Mapping[str, Any]) -> None:
    """Write report.html: no script, no external resource, legible in light and dark and on a phone.

    `results` is what `summarize` made of `rounds`. The file appears whole or not at all. Raises InputError when it
    cannot be written or matplotlib is missing.
    """
    page = render_report_html(rounds, results)
    with atomic_write(path) as file:
        file.write(page)


def render_report_html(rounds: Sequence[RoundRow], results: Mapping[str, Any]) -> str:
    """The page `write_report` writes."""
    shown = method_styles([*results["methods"], *list_arms(rounds).values()])
    saved = compute_cost_reduction(results)
    accent = shown[saved.method] if saved else METHOD_STYLES["late"]
    columns = [parse_scenario(name) for name in results["columns"]]
    headline = _capitalize_sentence(saved.description) if saved else "How much people edit."
    if saved and "%" in headline:
        share = next(word for word in headline.split() if word.endswith("%"))
        headline = headline.replace(share, f"<em>{share}</em>")
    own = group_by_scenario(rounds)
    plain = [column.name for column in columns if column.is_plain]
    if is_personal_run(results):
        sections = [render_users_section(own, results, shown)]
    else:
        sections = [render_scenario_section(name, own[name], results, shown) for name in plain]
        paper = render_paper_section(results, shown)
        sections = (
            [render_scenarios_section(results, shown), paper, *sections] if len(plain) > 1 else [*sections, paper]
        )
    shifted = [column for column in columns if column.is_shifted]
    sections.append(render_shift_section(shifted, own, results, shown))
    sections.append(render_sweeps_section(results, shown))
    return render_html_page(
        title=_capitalize_sentence(saved.description) if saved else "Edit report",
        eyebrow="Copydesk report · " + _describe_scope(columns),
        headline=headline,
        lead=_render_lead(saved, results),
        figures=_render_headline_figures(saved, results),
        sections=sections,
        details=_render_details("Settings", results["settings"]) + _render_details("Seconds", results["seconds"]),
        shown=shown,
        accent=accent,
    )


def _capitalize_sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def _describe_scope(columns: Sequence[Scenario]) -> str:
    """What the page is about: every column where they are few, else how many there are of each sort."""
    if len(columns) <= 4:
        return ", ".join(column.title for column in columns)
    plain, shifted = sum(column.is_plain for column in columns), sum(column.is_shifted for column in columns)
    counts = [(plain, "columns of a task and a user"), (shifted, "with users who are not those of the log"),
              (len(columns) - plain - shifted, "points of sweeps")]  # fmt: skip
    return ", ".join(f"{count} {words}" for count, words in counts if count)


def _render_lead(saved: CostReduction | None, results: Mapping[str, Any]) -> str:
    cells = [cell for column in results["cells"].values() for cell in column.values()]
    seeds = max(len(cell["per_seed"]) for cell in cells)
    rounds = max(round(cell["rounds"] / len(cell["per_seed"])) for cell in cells)
    over = f"over {rounds} rounds" + (f" with each of {seeds} seeds" if seeds > 1 else "")
    if saved is None:
        return f"Mean edit cost of each method, {over}."
    verb = "fell" if saved.after < saved.before else "went"
    who, note = get_method_label(saved.method), ""
    if is_late(saved.method):
        who = "the late ensemble" if saved.method == "late" else who
        note = " The rounds it spent on trying out policies are counted."
    return escape(
        f"The mean edit cost {verb} from {saved.before:.2f} with the base model to {saved.after:.2f} with "
        f"{who}, {over}.{note}"
    )


def _render_headline_figures(saved: CostReduction | None, results: Mapping[str, Any]) -> str:
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


def _render_details(title: str, values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(_format_value(value))}</td></tr>'
        for name, value in _flatten(values).items()
    )
    return f"<details><summary>{title}</summary><table><tbody>{rows}</tbody></table></details>"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
        )
    return flat


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
