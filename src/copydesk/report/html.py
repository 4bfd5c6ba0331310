"""One self-contained page about a run: what was saved, which method did it, and what that looks like."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from copydesk.log.files import atomic_write
from copydesk.report.columns import Column, read_column
from copydesk.report.methods import KNOWN, is_late, label_of, looks
from copydesk.report.page import html_page
from copydesk.report.paper_section import paper_section
from copydesk.report.people import has_people
from copydesk.report.people_section import people_section
from copydesk.report.results import Saving, saving
from copydesk.report.rounds import Round, arms_of, by_column
from copydesk.report.sections import column_section, columns_section
from copydesk.report.shift_section import shift_section
from copydesk.report.sweep_section import sweep_section


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
    columns = [read_column(name) for name in results["columns"]]
    headline = _sentence(saved.description) if saved else "How much people edit."
    if saved and "%" in headline:
        share = next(word for word in headline.split() if word.endswith("%"))
        headline = headline.replace(share, f"<em>{share}</em>")
    own = by_column(rounds)
    plain = [column.name for column in columns if column.is_plain]
    if has_people(results):
        sections = [people_section(own, results, shown)]
    else:
        sections = [column_section(name, own[name], results, shown) for name in plain]
        paper = paper_section(results, shown)
        sections = [columns_section(results, shown), paper, *sections] if len(plain) > 1 else [*sections, paper]
    shifted = [column for column in columns if column.is_shifted]
    sections.append(shift_section(shifted, own, results, shown))
    sections.append(sweep_section(results, shown))
    return html_page(
        title=_sentence(saved.description) if saved else "Edit report",
        eyebrow="Copydesk report · " + _scope(columns),
        headline=headline,
        lead=_lead(saved, results),
        figures=_figures(saved, results),
        sections=sections,
        details=_details("Settings", results["settings"]) + _details("Seconds", results["seconds"]),
        shown=shown,
        accent=accent,
    )


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def _scope(columns: Sequence[Column]) -> str:
    """What the page is about: every column where they are few, else how many there are of each sort."""
    if len(columns) <= 4:
        return ", ".join(column.title for column in columns)
    plain, shifted = sum(column.is_plain for column in columns), sum(column.is_shifted for column in columns)
    counts = [(plain, "columns of a task and a user"), (shifted, "with users who are not those of the log"),
              (len(columns) - plain - shifted, "points of sweeps")]  # fmt: skip
    return ", ".join(f"{count} {words}" for count, words in counts if count)


def _lead(saved: Saving | None, results: Mapping[str, Any]) -> str:
    cells = [cell for column in results["cells"].values() for cell in column.values()]
    seeds = max(len(cell["per_seed"]) for cell in cells)
    rounds = max(round(cell["rounds"] / len(cell["per_seed"])) for cell in cells)
    over = f"over {rounds} rounds" + (f" with each of {seeds} seeds" if seeds > 1 else "")
    if saved is None:
        return f"Mean edit cost of each method, {over}."
    verb = "fell" if saved.after < saved.before else "went"
    who, note = label_of(saved.method), ""
    if is_late(saved.method):
        who = "the late ensemble" if saved.method == "late" else who
        note = " The rounds it spent on trying out policies are counted."
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
