"""The report of a run as one self-contained HTML page.

How much less people edit, which method did it, and what that looks like: `sections.py` and `table_sections.py` prepare
what the page shows as plain data, and `templates/report.html.j2` lays it out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from copydesk.report.columns import ScenarioGroups, format_scenario_title, group_scenarios
from copydesk.report.results import CostReduction, collect_tables, compute_cost_reduction, is_personal_run
from copydesk.report.rounds import RoundRow, group_by_scenario, list_arms
from copydesk.report.sections import (
    ScenarioSection,
    ShiftSection,
    Styles,
    SweepsSection,
    TablesSection,
    UsersSection,
    build_overview_section,
    build_scenario_section,
    build_shift_section,
    build_sweeps_section,
    build_users_section,
)
from copydesk.report.style import METHOD_STYLES, get_method_label, is_late, method_styles
from copydesk.report.table_sections import (
    RegretSection,
    build_paper_section,
    build_regret_section,
    build_table_section,
)
from copydesk.report.templating import capitalize_first, render_template
from copydesk.utils.atomic import atomic_write

ReportSection = TablesSection | ScenarioSection | UsersSection | ShiftSection | SweepsSection | RegretSection


def write_report(path: Path, rounds: Sequence[RoundRow], results: Mapping[str, Any]) -> None:
    """Write `report.html`, whole or not at all.

    The page has no script and no external resource; it is legible in light and dark and on a phone.

    Args:
        path: of the file.
        rounds: of the run, as `rounds.jsonl` holds them.
        results: what `summarize_rounds` made of the rounds.

    Raises:
        InputError: the file cannot be written, or matplotlib is not installed.
    """
    page = render_report_html(rounds, results)
    with atomic_write(path) as file:
        file.write(page)


def render_report_html(rounds: Sequence[RoundRow], results: Mapping[str, Any]) -> str:
    """The page that `write_report` writes."""
    shown = method_styles([*results["methods"], *list_arms(rounds).values()])
    saved = compute_cost_reduction(results)
    sentence = f"{capitalize_first(saved.description)}." if saved else ""
    return render_template(
        "report.html.j2",
        title=sentence or "Edit report",
        eyebrow=f"Copydesk report · {_describe_scope(group_scenarios(results['columns']), results)}",
        headline=sentence or "How much simulated users edit.",
        emphasis=next((word for word in sentence.split() if word.endswith("%")), ""),
        lead=_describe_cost_reduction(saved, results),
        key_figures=_format_key_figures(saved, results),
        sections=_build_sections(rounds, results, shown),
        details=[
            (title, [(name, _format_value(value)) for name, value in _flatten(results[key]).items()])
            for title, key in (("Settings", "settings"), ("Seconds", "seconds"))
        ],
        shown=shown,
        accent=shown[saved.method] if saved else METHOD_STYLES["late"],
    )


def _build_sections(rounds: Sequence[RoundRow], results: Mapping[str, Any], shown: Styles) -> list[ReportSection]:
    by_column = group_by_scenario(rounds)
    groups = group_scenarios(results["columns"])
    sections: list[ReportSection | None]
    if is_personal_run(results):
        sections = [build_users_section(by_column, results, shown)]
    else:
        sections = [build_scenario_section(one.name, by_column[one.name], results, shown) for one in groups.main]
        in_tables = [column for columns in groups.tables.values() for column in columns]
        regret = build_regret_section(in_tables, by_column, results)
        if tables := collect_tables(results):
            sections = [*(build_table_section(table, results, shown) for table in tables), regret, *sections]
        elif len(groups.main) > 1:
            sections = [build_overview_section(results, shown), build_paper_section(results), *sections]
        else:
            sections += [regret, build_paper_section(results)]
    others = [*groups.plain, *groups.shifted] if groups.tables else groups.shifted
    sections += [build_shift_section(others, by_column, results, shown), build_sweeps_section(results, shown)]
    return [section for section in sections if section is not None]


def _describe_scope(groups: ScenarioGroups, results: Mapping[str, Any]) -> str:
    """What the page is about: every column where they are few, otherwise how many there are of each sort."""
    if len(results["columns"]) <= 4:
        return ", ".join(format_scenario_title(name) for name in results["columns"])
    counts = [(len(columns), f"columns of table {number}") for number, columns in groups.tables.items()]
    counts += [(len(groups.plain), "columns of a task and a user"),
               (len(groups.shifted), "with users who are not those of the log"),
               (len(groups.swept), "points of sweeps")]  # fmt: skip
    return ", ".join(f"{count} {words}" for count, words in counts if count)


def _describe_cost_reduction(saved: CostReduction | None, results: Mapping[str, Any]) -> str:
    cells = [cell for column in results["cells"].values() for cell in column.values()]
    seeds = max(len(cell["per_seed"]) for cell in cells)
    rounds = max(round(cell["rounds"] / len(cell["per_seed"])) for cell in cells)
    over = f"over {rounds} rounds" + (f" with each of {seeds} seeds" if seeds > 1 else "")
    if saved is None:
        return f"Mean edit cost of each method, {over}."
    verb = "fell" if saved.after < saved.before else "went"
    name, note = get_method_label(saved.method), ""
    if is_late(saved.method):
        name = "the late ensemble" if saved.method == "late" else name
        note = " The rounds it spent on trying out policies are counted."
    return (
        f"The mean edit cost {verb} from {saved.before:.2f} with the base model to {saved.after:.2f} with {name}, "
        f"{over}.{note}"
    )


def _format_key_figures(saved: CostReduction | None, results: Mapping[str, Any]) -> list[tuple[str, tuple[str, str]]]:
    """A few figures before learning and after, each with its name; only where there is one column."""
    if saved is None or len(results["columns"]) > 1:
        return []
    cells = results["cells"][results["columns"][0]]
    before, after = cells[saved.baseline], cells[saved.method]
    figures = [("Edit cost", (f"{before['mean']:.2f}", f"{after['mean']:.2f}"))]
    for name, title in (("accepted", "Accepted as written"), ("facts", "Facts right"), ("malformed", "Malformed")):
        if name in before and name in after:
            figures.append((title, (f"{before[name]:.0%}", f"{after[name]:.0%}")))
    return figures


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
