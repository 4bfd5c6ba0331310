"""What `copydesk import` says: how rows are read, and what became of them."""

import json
from collections import Counter
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from copydesk.cli.output import emit
from copydesk.data.cost import EditCost
from copydesk.data.importers.base import ImportSource
from copydesk.data.mapping import FieldMapping
from copydesk.data.record import EditRecord
from copydesk.store import EditStore
from copydesk.store.import_rows import ImportResult

_MAX_SHOWN_CHARS = 70  # characters of a text that is shown


def print_mapping(source: ImportSource, mapping: FieldMapping, as_json: bool) -> None:
    """How rows are read, before it starts."""
    if as_json:
        return
    table = Table("field", "from", "", box=box.SIMPLE, title=f"{source.name}:", title_justify="left")
    for field, key, how in mapping.describe():
        table.add_row(field, key, how)
    Console(markup=False, highlight=False, emoji=False).print(table)


def render_import(
    source: ImportSource,
    store: EditStore,
    mapping: FieldMapping,
    metric: EditCost,
    done: ImportResult,
    faults: list[tuple[int, str]],
    as_json: bool,
) -> None:
    """What an import came to."""
    document = {
        "source": source.name,
        "store": store.name,
        "metric": metric.name,
        "mapping": describe_mapping(mapping),
        **done.to_json(),
        "rejected_file": str(source.rejected_path) if done.rejected else None,
        "first_rejected": describe_rejected_rows(source, faults),
    }
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    said = {
        "store": store.name,
        "rows": f"{done.rows}",
        "added": f"{done.added}" + (f" ({done.pending} of them pending)" if done.pending else ""),
        "new edits of rows that were there": done.updated,
        "there already": done.known,
        "repeated in the source": done.repeated,
        "rejected": f"{done.rejected}, in {source.rejected_path}" if done.rejected else 0,
    }
    for name, value in said.items():
        if value or name in ("rows", "added"):
            table.add_row(name, str(value))
    emit(
        document,
        Group(table, *render_rejected_rows(source, faults), *render_redactions(done.replaced)),
        as_json=as_json,
    )


def describe_mapping(mapping: FieldMapping) -> list[dict[str, str]]:
    """The mapping as JSON values."""
    return [{"field": field, "key": key, "how": how} for field, key, how in mapping.describe()]


def describe_rejected_rows(source: ImportSource, faults: list[tuple[int, str]]) -> list[dict[str, Any]]:
    """Rejected rows as JSON values."""
    return [{source.unit: place, "reason": reason} for place, reason in faults]


def render_example_record(record: EditRecord) -> RenderableType:
    """A record, its long texts cut."""
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for field, value in record.model_dump(mode="json", exclude_none=True).items():
        if value != {}:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            table.add_row(field, text if len(text) <= _MAX_SHOWN_CHARS else text[: _MAX_SHOWN_CHARS - 1] + "…")
    if record.edit is None:
        table.add_row("edit", "pending")
    return table


def render_rejected_rows(source: ImportSource, faults: list[tuple[int, str]]) -> list[RenderableType]:
    """Rejected rows, one a line."""
    return [Text(f"{source.name}:{place}: {reason}") for place, reason in faults]


def render_redactions(replaced: Counter[str]) -> list[RenderableType]:
    """What was redacted, if anything was."""
    if not replaced:
        return []
    return [Text("Replaced: " + ", ".join(f"{count} {kind}" for kind, count in sorted(replaced.items())) + ".")]
