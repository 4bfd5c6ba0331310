"""A diagnosis for people at a terminal."""

from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from copydesk.diagnose.diagnose import Diagnosis
from copydesk.diagnose.words import HONEST, Origin, command, figures, phrase, sentences
from copydesk.report.methods import label_of

_SHOWN = 8


def rendered(diagnosis: Diagnosis, log: Origin, page: Path | None = None) -> Group:
    """The advice first, then what it rests on; `page` names the page that was written, if one was."""
    parts: list[RenderableType] = [*_advice(diagnosis, log), *_cautions(diagnosis)]
    table = Table(box=box.SIMPLE, show_header=False, title="What the log says", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in figures(diagnosis):
        table.add_row(name, value)
    parts += [table, *(Text(sentence) for sentence in sentences(diagnosis)), *_rewrites(diagnosis)]
    if page is not None:
        parts.append(Text(f"Page: {page}"))
    return Group(*parts)


def _advice(diagnosis: Diagnosis, log: Origin) -> list[RenderableType]:
    advice = diagnosis.advice
    if advice is None:
        return [Text("Nobody edited anything in this log, so there is nothing to learn from it yet.", style="bold")]
    table = Table(box=box.SIMPLE)
    table.add_column("method")
    table.add_column("share of the avoidable cost predicted to be left", justify="right")
    for method, left in advice.predicted.items():
        chosen = "bold" if method == advice.method else ""
        table.add_row(Text(label_of(method), style=chosen), Text(f"{left:.0%}", style=chosen))
    reasons = [Text(f"- {reason}") for reason in advice.reasons]
    return [Text(command(diagnosis, log) or "", style="bold"), table, *reasons, Text(f"({HONEST})"), Text("")]


def _cautions(diagnosis: Diagnosis) -> list[RenderableType]:
    return [Text(f"Careful: {caution.text}", style="yellow") for caution in diagnosis.cautions]


def _rewrites(diagnosis: Diagnosis) -> list[RenderableType]:
    if not diagnosis.rewrites.commonest:
        return []
    table = Table(box=box.SIMPLE, title="The commonest edits", title_justify="left")
    for name in ("response", "edit", "times", "rows", "users"):
        table.add_column(name, justify="left" if name in ("response", "edit") else "right", overflow="fold")
    for one in diagnosis.rewrites.commonest[:_SHOWN]:
        users = str(one.users) if one.users else "-"
        table.add_row(phrase(one.before), phrase(one.after), f"{one.count:,}", f"{one.rows:,}", users)
    return [table]
