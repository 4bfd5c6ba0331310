"""One self-contained page about a run: what was saved, which method did it, and what that looks like.

The page that every report is set in: one self-contained HTML file, legible in light and dark and on a phone.

What the page's sections are built from.

The sections about the plain columns: a task and a user.

The section that sets our table beside the paper's.

The section about people with different tastes: who is better off with the shared policy, and who with their own.

The section about users who are not, or do not stay, those of the log.

The section about what varies with the strength of the user, or with the size of the log.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from copydesk.report import metrics, plots
from copydesk.report.columns import Scenario, format_scenario_title, parse_scenario
from copydesk.report.diff import render_diff_html
from copydesk.report.examples import ExamplePair, format_chat_context, pick_examples
from copydesk.report.metrics import filter_plain_scenarios
from copydesk.report.plots import plot_cost_by_user, plot_cost_over_sweep
from copydesk.report.results import (
    CostReduction,
    Crossing,
    Sweep,
    build_user_rows,
    collect_sweeps,
    compute_cost_reduction,
    find_crossings,
    get_user_scenario,
    is_personal_run,
)
from copydesk.report.rounds import RoundRow, group_by_scenario, list_arms
from copydesk.report.style import (
    METHOD_STYLES,
    MethodStyle,
    exclude_oracle,
    get_css_variable,
    get_method_label,
    is_late,
    method_styles,
)
from copydesk.report.templating import capitalize_first
from copydesk.report.terminal import MEASURE_FORMATS, format_cost, format_cost_reduction, format_regret
from copydesk.utils.atomic import atomic_write

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
        f"<section><h2>{escape(format_scenario_title(column))}</h2>"
        f"{_render_methods_table(results['cells'][column], shown)}"
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
        f'<div class="context"><div class="prose" tabindex="0">{escape(format_chat_context(after["context"]))}</div>'
        "</div>"
        f'<div class="sides">{_render_example_side("Before", example.before, arms)}'
        f"{_render_example_side('After', after, arms)}</div></article>"
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


def render_paper_section(results: Mapping[str, Any], shown: Mapping[str, MethodStyle]) -> str:
    """The columns that the poster has as well, each cell with the poster's below it; empty where there is none."""
    columns = [(results["cells"][name], metrics.PAPER_COSTS[theirs], format_scenario_title(name))
               for name in results["columns"] if (theirs := metrics.match_paper_scenario(name))]  # fmt: skip
    if not columns:
        return ""
    caption = (
        "Ours, and in small type the poster's: mean edit cost ± standard deviation over seeds. Models and users are "
        "not the paper's, so the order of the methods can be compared, and the values cannot."
    )
    if len(filter_plain_scenarios(results["columns"])) > 1:
        columns.append((results["max_subopt"], metrics.PAPER_MAX_SUBOPT, "Max SubOpt"))
        caption += " Max SubOpt is over all of our columns of a task and a user, and over the poster's four."
    rows = [
        render_row(
            render_method_name(method, shown),
            [_render_paper_cells(method, ours, theirs) for ours, theirs, _ in columns],
        )
        for method in results["methods"]
        if method in metrics.PAPER_MAX_SUBOPT
    ]
    if not rows:
        return ""
    beside = render_table(caption, ["Method", *(title for _, _, title in columns)], rows)
    return f"<section><h2>Beside the paper</h2>{beside}{_render_robustness(results, shown)}</section>"


def _render_paper_cells(method: str, ours: Mapping[str, Any], theirs: Mapping[str, Mapping[str, float]]) -> str:
    cell = theirs[method]
    below = f"<br><small>{cell['mean']:.2f} ± {cell['std']:.2f}</small>"
    return render_cost_cell(ours[method], find_lowest_mean(ours), below) if method in ours else f"<td>–{below}</td>"


def _render_robustness(results: Mapping[str, Any], shown: Mapping[str, MethodStyle]) -> str:
    """How much smaller an ensemble's Max SubOpt is than that of a method with one kind of feedback."""
    ours, theirs = results.get("robustness", {}), metrics.compute_paper_robustness()
    rows = [
        render_row(
            render_method_name(method, shown), [f"<td>{format_cost(cell)}</td>", f"<td>{theirs[method]:.2f}</td>"]
        )
        for method, cell in ours.items()
    ]
    caption = (
        "How safe an ensemble is for those who do not know which user they have: its Max SubOpt divided by that of the "
        "best method of a single feedback (SFT, DPO or RL). Below 1 the ensemble is safer."
    )
    return render_table(caption, ["Ensemble", "Ours", "Poster"], rows) if rows else ""


def render_users_section(
    rounds: Mapping[str, Sequence[RoundRow]], results: Mapping[str, Any], shown: Mapping[str, MethodStyle]
) -> str:
    """A table of all people, their costs as bars, and which policy each one's ensemble played.

    `rounds` are by column.
    """
    rows = build_user_rows(results)
    methods = results["methods"]
    lines = [
        render_row(
            escape(one.name),
            [
                f"<td>{one.edits}</td><td>{escape(one.taste)}</td>",
                *(render_cost_cell(one.cells[method], find_lowest_mean(one.cells)) for method in methods),
                f"<td>{'–' if one.regret is None else format_cost(one.regret)}</td>",
            ],
        )
        for one in rows
    ]
    caption = (
        "Mean edit cost of a round, the lowest in bold; for everybody each person counts alike. Regret: the late "
        "ensemble's total cost minus that of the better of its two policies; for everybody it is the sum."
    )
    head = ["Who", "Edits", "Taste shared with", *(shown[method].label for method in methods), "Regret"]
    note = "Everybody meets the same documents. Lower is better."
    figures = [
        render_figure("Edit cost of each person", note, render_legend(methods, shown), plot_cost_by_user(rows[:-1]))
    ]
    for one in rows[:-1]:
        played = rounds[get_user_scenario(results, one.name)]
        for late in filter(is_late, methods):
            title = f"{one.name}, {one.edits} edits"
            window = plots.choose_rolling_window(played)
            note = f"Which policy the late ensemble played: share of the last {window} rounds."
            figures.append(
                render_figure(
                    title, note, render_legend(["shared", "own"], shown), plots.plot_pulls_over_rounds(played, late)
                )
            )
    intro = (
        "<p class=\"soft\">One policy learnt from everybody's edits; an adapter of one's own learnt from those of one "
        "person alone; a late ensemble finds out for each person which of the two to play, and begins with what it "
        "found for the others.</p>"
    )
    return (
        f"<section><h2>Each person</h2>{intro}{render_table(caption, head, lines)}"
        f'<div class="plots block">{"".join(figures)}</div></section>'
    )


def render_shift_section(
    columns: Sequence[Scenario],
    rounds: Mapping[str, Sequence[RoundRow]],
    results: Mapping[str, Any],
    shown: Mapping[str, MethodStyle],
) -> str:
    """What the shifted `columns` cost, and how soon each late ensemble found the policy to play; empty without any."""
    if not columns:
        return ""
    regret = results.get("regret", {})
    lates = {column.name: regret[column.name] for column in columns if column.name in regret}
    figures = [_render_shift_plot(column, rounds[column.name]) for column in columns if column.name in lates]
    intro = (
        '<p class="soft">The policies were trained on one user\'s edits, and somebody else is met online, or the user '
        "changes halfway.</p>"
    )
    cells = group_cells_by_title(results, [column.name for column in columns])
    if "max_subopt_all" in results:
        cells["Max SubOpt, all columns"] = results["max_subopt_all"]
    costs = render_costs_table(
        "Mean edit cost ± standard deviation over seeds. Max SubOpt is over these columns and those above.",
        cells,
        shown,
    )
    plots_html = f'<div class="plots block">{"".join(figures)}</div>' if figures else ""
    return (
        f"<section><h2>Users who are not those of the log</h2>{intro}{costs}"
        f"{_describe_safety(results)}{_render_shift_table(columns, lates, shown)}{plots_html}</section>"
    )


def _describe_safety(results: Mapping[str, Any]) -> str:
    """What the ensembles' Max SubOpt over all columns is, in one sentence."""
    found = results.get("robustness_all", {})
    if not found:
        return ""
    words = ", ".join(f"{get_method_label(name).lower()} {format_cost(cell)}" for name, cell in found.items())
    return (
        '<p class="soft">Max SubOpt over all columns, that of the best method of a single feedback counted as 1: '
        f"{words}.</p>"
    )


def _render_shift_table(
    columns: Sequence[Scenario], lates: Mapping[str, Mapping[str, Any]], shown: Mapping[str, MethodStyle]
) -> str:
    rows = []
    for column in columns:
        own = lates.get(column.name, {})
        head = f'<th scope="row" rowspan="{len(own)}">{escape(column.title)}</th>'
        for method, cell in own.items():
            texts = "".join(f"<td>{escape(text)}</td>" for text in format_regret(cell))
            rows.append(f"<tr>{head}<td>{render_method_name(method, shown)}</td>{texts}</tr>")
            head = ""
    caption = (
        "Regret: the total cost of a late ensemble minus that of the best single arm in hindsight, which "
        "answers every round of the seed. Ratio: the first total divided by the second; below 1 switching paid."
    )
    return render_table(caption, ["Scenario", "Rule", "Regret", "Ratio", "Best single arm"], rows) if rows else ""


def _render_shift_plot(column: Scenario, rounds: Sequence[RoundRow]) -> str:
    turn = max(int(played["t"]) for played in rounds) // 2 if column.changes_midway else None
    note = "Regret so far, against the single arm that is the best over all rounds."
    if turn is not None:
        note += f" The user changes after round {turn}."
    return render_figure(column.title, note, "", plots.plot_regret_over_rounds(rounds, turn))


def render_sweeps_section(results: Mapping[str, Any], shown: Mapping[str, MethodStyle]) -> str:
    """Every sweep: curves, where they cross, and a table; empty where there is none."""
    sweeps = collect_sweeps(results)
    if not sweeps:
        return ""
    return f"<section><h2>What it depends on</h2>{''.join(_render_sweep(sweep, shown) for sweep in sweeps)}</section>"


def _render_sweep(sweep: Sweep, shown: Mapping[str, MethodStyle]) -> str:
    crossed = "".join(
        f"<li>{escape(_describe_crossing(sweep, crossing, shown))}</li>" for crossing in find_crossings(sweep)
    )
    note = "Mean edit cost, with a band of one standard deviation over seeds. Lower is better."
    plot = render_figure(sweep.title, note, "", plot_cost_over_sweep(sweep))
    where = crossed and f'<div><h3>Where two methods cross</h3><ul class="crossings">{crossed}</ul></div>'
    rows = []
    for value, cells in sweep.cells.items():
        rows.append(
            render_row(
                sweep.format_value(value),
                [render_cost_cell(cells.get(method), find_lowest_mean(cells)) for method in sweep.methods],
            )
        )
    head = [sweep.symbol, *(shown[method].label for method in sweep.methods)]
    caption = f"{sweep.title}: mean edit cost ± standard deviation over seeds."
    return f'<div class="plots block">{plot}{where}</div>{render_table(caption, head, rows)}'


def _describe_crossing(sweep: Sweep, crossing: Crossing, shown: Mapping[str, MethodStyle]) -> str:
    at = f"{crossing.value:.2f}" if sweep.symbol == "p" else f"{crossing.value:,.0f}"
    one, other, cheaper = (shown[name].label for name in (crossing.first, crossing.second, crossing.cheaper))
    return f"{one} and {other} cross at {sweep.symbol}\u00a0≈\u00a0{at}; beyond that {cheaper} is cheaper"


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
