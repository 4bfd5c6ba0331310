"""A diagnosis for people at a terminal."""

from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from copydesk.diagnose.diagnose import Diagnosis
from copydesk.diagnose.words import (
    ADVICE_CAVEAT,
    LogOrigin,
    collect_sentences,
    format_figures,
    format_phrase,
    format_train_command,
)
from copydesk.report.style import get_method_label

_MAX_SHOWN_REWRITES = 8


def render_diagnosis_terminal(diagnosis: Diagnosis, log: LogOrigin, page: Path | None = None) -> Group:
    """The advice first, then what it rests on; `page` names the page that was written, if one was."""
    parts: list[RenderableType] = [*_terminal_advice(diagnosis, log), *_terminal_cautions(diagnosis)]
    table = Table(box=box.SIMPLE, show_header=False, title="What the log says", title_justify="left")
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
    table.add_column("share of the avoidable cost predicted to be left", justify="right")
    for method, left in advice.predicted.items():
        chosen = "bold" if method == advice.method else ""
        table.add_row(Text(get_method_label(method), style=chosen), Text(f"{left:.0%}", style=chosen))
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
