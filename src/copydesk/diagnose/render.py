"""Renders a diagnosis as a self-contained HTML page and as text for a terminal."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from copydesk.diagnose.advice import Advice
from copydesk.diagnose.diagnose import Diagnosis
from copydesk.diagnose.quality import Coverage
from copydesk.report.style import MethodStyle, get_method_label, method_styles
from copydesk.report.svg import draw_svg
from copydesk.report.templating import BarView, CellView, FigureView, RowView, TableView, render_template

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class LogOrigin:
    """Where a log comes from: a readable name, and the command-line options that select it."""

    name: str
    options: tuple[str, ...]


ADVICE_CAVEAT = "a rule of thumb from worst-case bounds; measured hit rate: docs/diagnose.md"


def format_train_command(diagnosis: Diagnosis, log: LogOrigin) -> str | None:
    """The command that trains as advised; `None` where there is nothing to learn."""
    advice = diagnosis.advice
    if advice is None:
        return None
    model = diagnosis.coverage.model if diagnosis.coverage else "MODEL"
    words = ["copydesk", "train", *log.options, "--model", model, "--method", advice.method]
    words += ["--lambda-sup", f"{advice.lam:.2g}"] if advice.method == "early" else []
    words += ["--beta", f"{advice.beta:.2g}"] if advice.method != "sft" else []
    return shlex.join([*words, "--out", f"policies/{advice.method}-1"])


def format_figures(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """All figures as (name, text) pairs."""
    counts, costs, quality = diagnosis.counts, diagnosis.costs, diagnosis.quality
    figures = [
        ("rows", f"{counts.rows:,}: {counts.edited:,} edited, {counts.accepted:,} accepted, {counts.pending:,} pending")
    ]
    if counts.accepted_share is not None:
        figures.append(("accepted as written", f"{counts.accepted_share:.1%}"))
    figures.append(("users", f"{counts.users:,}" if counts.users else "not named"))
    if costs.mean is not None and costs.median is not None:
        high = dict(costs.quantiles)[0.9]
        figures.append(("edit cost", f"mean {costs.mean:.3f}, median {costs.median:.3f}, 90% at most {high:.3f}"))
        figures.append(("metric", costs.metric))
    if quality.kept is not None:
        figures.append(("kept of an edited response", f"{quality.kept:.0%} of the words"))
        figures.append(("nearly identical pairs", f"{quality.near_identical:.0%} of the edited rows"))
    consistency = quality.consistency
    if consistency.mean is not None and consistency.low is not None and consistency.high is not None:
        interval = f"{consistency.low:.0%} to {consistency.high:.0%}"
        figures.append(
            (
                "consistency",
                f"{consistency.mean:.0%} ({interval}): how often a common rewrite is made where it could be; "
                f"{consistency.covered:.0%} of the changes are common rewrites",
            )
        )
    reedits = quality.edited_again
    if reedits is not None:
        share = f", {reedits.left:.0%} of the first" if reedits.left is not None else ""
        figures.append(("edited again", f"{reedits.rows:,} texts; the second edit costs {reedits.second:.3f}{share}"))
    figures += _format_coverage(diagnosis.coverage)
    leaks = diagnosis.leaks
    phones = "not looked for" if leaks.phones is None else f"{leaks.phones:,}"
    figures.append(("personal data", f"rows with an e-mail address: {leaks.emails:,}, with a phone number: {phones}"))
    figures.append(("repeated rows", f"{diagnosis.duplicates:,}"))
    return figures


def _format_coverage(coverage: Coverage | None) -> list[tuple[str, str]]:
    if coverage is None:
        return [("coverage", "not measured (give --model)")]
    cut = f", {coverage.cut:,} of them truncated" if coverage.cut else ""
    own = "" if coverage.own_per_token is None else f"; its own responses {coverage.own_per_token:.2f}"
    return [
        ("coverage by", f"{coverage.model}, {coverage.rows:,} edited rows{cut}"),
        ("... log π(y')", f"{coverage.edit:.1f}, {coverage.edit_per_token:.2f} per token"),
        ("... log π(y)", f"{coverage.response:.1f}, {coverage.response_per_token:.2f} per token{own}"),
        ("... margin", f"{coverage.margin:.1f} (median size {coverage.margin_scale:.1f})"),
        ("... effective sample size", f"{coverage.ess:.0%} of the rows; overlap per token {coverage.overlap:.0%}"),
        ("... rare under the model", f"{coverage.rare:.0%} of the y'"),
    ]


def collect_sentences(diagnosis: Diagnosis) -> list[str]:
    """The sentences that summarize position and drift."""
    drift = diagnosis.drift.sentence if diagnosis.drift else ""
    return [sentence for sentence in (diagnosis.where.sentence, drift) if sentence]


def format_phrase(words: str) -> str:
    """One side of a rewrite; `(–)` where it is empty."""
    return words or "(–)"


_Styles = dict[str, MethodStyle]


def render_diagnosis_html(diagnosis: Diagnosis, log: LogOrigin) -> str:
    """Render the page.

    Args:
        diagnosis: the diagnosis.
        log: where the log comes from.

    Returns:
        One self-contained HTML document.

    Raises:
        InputError: matplotlib is not installed.
    """
    advice = diagnosis.advice
    shown = method_styles(["sft", "dpo", "rl", "early"])
    chosen = advice.method if advice else "early"
    return render_template(
        "diagnose.html.j2",
        package="copydesk.diagnose",
        title=f"Diagnosis of {log.name}",
        eyebrow=f"Copydesk diagnosis · {log.name}",
        method=get_method_label(advice.method) if advice else "",
        lead=advice.reasons[0] if advice else "Nobody edited anything in this log.",
        diagnosis=diagnosis,
        key_figures=_format_key_figures(diagnosis),
        predictions=_build_predictions_table(advice) if advice else None,
        command=format_train_command(diagnosis, log),
        plots=_plot_edits(diagnosis, {chosen: shown[chosen]}),
        sentences=collect_sentences(diagnosis),
        figures=[(name.removeprefix("... "), value) for name, value in format_figures(diagnosis)],
        shown=shown,
        accent=shown[chosen],
    )


def _format_key_figures(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    counts, costs = diagnosis.counts, diagnosis.costs
    items = [("Edited rows", f"{counts.edited:,}")]
    if counts.accepted_share is not None:
        items.append(("Accepted as written", f"{counts.accepted_share:.0%}"))
    if costs.mean is not None:
        items.append(("Mean edit cost", f"{costs.mean:.2f}"))
    if diagnosis.quality.kept is not None:
        items.append(("Kept of an edited response", f"{diagnosis.quality.kept:.0%}"))
    if diagnosis.coverage is not None:
        items.append(("Effective sample size", f"{diagnosis.coverage.ess:.0%}"))
    return items


def _build_predictions_table(advice: Advice) -> TableView:
    rows = [
        RowView(
            CellView(method=method),
            [CellView(f"{left:.0%}", best=method == advice.method, bar=BarView(left, method))],
        )
        for method, left in advice.predicted.items()
    ]
    caption = f"Share of the avoidable cost that each method is predicted to leave: {ADVICE_CAVEAT}."
    return TableView(caption, ["Method", "Left"], rows)


def _plot_edits(diagnosis: Diagnosis, shown: _Styles) -> list[FigureView]:
    plots = []
    costs, where, drift = diagnosis.costs, diagnosis.where, diagnosis.drift
    if costs.bars:
        note = "Rows by edit cost; the last bar also holds all higher costs."
        plots.append(
            FigureView("What edits cost", note, _plot_bars(costs.edges, costs.bars, "edit cost", "rows", shown))
        )
    if where.shares:
        tenths = [tenth / 10 for tenth in range(11)]
        bars = _plot_bars(tenths, where.shares, "position in the response", "share of changes", shown)
        plots.append(FigureView("Where people edit", where.sentence, bars))
    if drift is not None:
        by = "created_at" if drift.by == "created_at" else "the order of the log"
        note = drift.sentence or "No significant change over time."
        plots.append(
            FigureView("Cost over time", f"Mean of ten slices by {by}. {note}", _plot_slices(drift.means, shown))
        )
    return plots


def _plot_bars(edges: Sequence[float], heights: Sequence[float], across: str, up: str, shown: _Styles) -> Markup:
    (look,) = shown.values()

    def draw(axes: "Axes") -> None:
        widths = [0.9 * (end - start) for start, end in pairwise(edges)]
        axes.bar(edges[:-1], heights, width=widths, align="edge", color=look.light)
        axes.set(xlabel=across, ylabel=up, xlim=(edges[0], edges[-1]))
        axes.grid(visible=False, axis="x")
        if up.startswith("share"):
            axes.yaxis.set_major_formatter("{x:.0%}")

    return Markup(draw_svg(draw, shown, f"Bar plot: {up} by {across}.", height=2.6))


def _plot_slices(means: Sequence[float], shown: _Styles) -> Markup:
    (look,) = shown.values()

    def draw(axes: "Axes") -> None:
        axes.plot(range(1, len(means) + 1), means, color=look.light, linewidth=2, marker="o", markersize=4)
        axes.set(xlabel="slice of the rows", ylabel="mean edit cost", xticks=range(1, len(means) + 1))
        axes.set_ylim(bottom=0)

    return Markup(draw_svg(draw, shown, "Line plot: mean edit cost over ten slices of the rows.", height=2.6))


_MAX_SHOWN_REWRITES = 8


def render_diagnosis_terminal(diagnosis: Diagnosis, log: LogOrigin, page: Path | None = None) -> Group:
    """Render the advice, then the figures it depends on; `page` is the HTML page that was written, if any."""
    parts: list[RenderableType] = [*_terminal_advice(diagnosis, log), *_terminal_cautions(diagnosis)]
    table = Table(box=box.SIMPLE, show_header=False, title="Figures of the log", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in format_figures(diagnosis):
        table.add_row(name, value)
    parts += [table, *(Text(sentence) for sentence in collect_sentences(diagnosis)), *_terminal_rewrites(diagnosis)]
    if page is not None:
        parts.append(Text(f"Page: {page}"))
    return Group(*parts)


def _terminal_advice(diagnosis: Diagnosis, log: LogOrigin) -> list[RenderableType]:
    advice = diagnosis.advice
    if advice is None:
        return [Text("Nobody edited anything in this log, so there is nothing to learn from it yet.", style="bold")]
    table = Table(box=box.SIMPLE)
    table.add_column("method")
    table.add_column("share of the avoidable cost predicted to remain", justify="right")
    for method, left in advice.predicted.items():
        style = "bold" if method == advice.method else ""
        table.add_row(Text(get_method_label(method), style=style), Text(f"{left:.0%}", style=style))
    reasons = [Text(f"- {reason}") for reason in advice.reasons]
    return [
        Text(format_train_command(diagnosis, log) or "", style="bold"),
        table,
        *reasons,
        Text(f"({ADVICE_CAVEAT})"),
        Text(""),
    ]


def _terminal_cautions(diagnosis: Diagnosis) -> list[RenderableType]:
    return [Text(f"Careful: {caution.text}", style="yellow") for caution in diagnosis.cautions]


def _terminal_rewrites(diagnosis: Diagnosis) -> list[RenderableType]:
    if not diagnosis.rewrites.commonest:
        return []
    table = Table(box=box.SIMPLE, title="The commonest edits", title_justify="left")
    for name in ("response", "edit", "times", "rows", "users"):
        table.add_column(name, justify="left" if name in ("response", "edit") else "right", overflow="fold")
    for one in diagnosis.rewrites.commonest[:_MAX_SHOWN_REWRITES]:
        users = str(one.users) if one.users else "-"
        table.add_row(format_phrase(one.before), format_phrase(one.after), f"{one.count:,}", f"{one.rows:,}", users)
    return [table]
