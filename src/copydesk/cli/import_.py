"""`copydesk import`: edits from files, data sets, products and git histories into the store.

The options of the source, the mapping of keys and the edit cost are generated from their settings classes.
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from copydesk import embedded
from copydesk.cli._options import options_from_config
from copydesk.cli._shared import StoreCostOptions, emit, make_console
from copydesk.data.cost import EditCost
from copydesk.data.importers import (
    ImportSource,
    MappingOptions,
    SourceRow,
    build_importer_options,
    choose_mapping,
    open_import_source,
)
from copydesk.data.importers.registry import ImporterName
from copydesk.data.mapping import FieldMapping
from copydesk.data.record import EditRecord
from copydesk.data.redact import Redactor
from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.api_keys import DEFAULT_TENANT, check_tenant
from copydesk.store.events import read_setup_events
from copydesk.store.import_rows import (
    ImportResult,
    RejectedRowWriter,
    RowParser,
    import_rows,
    open_rejected_rows,
    parse_rows,
)
from copydesk.store.write import append_config
from copydesk.utils.config import Config

_SAMPLE_ROWS = 100  # rows that fields are guessed from
_EXAMPLE_ROWS = 3  # rows that a dry run shows
_MAX_SHOWN_CHARS = 70  # of a text in a dry run


@options_from_config(classes={"importer": build_importer_options()})
def import_command(
    source: Annotated[
        str,
        typer.Argument(help="A file, folder, URL (s3://, gs://, hf://, https://), hub id, git folder, or - for stdin."),
    ],
    importer: Config,
    mapping: MappingOptions,
    cost: StoreCostOptions,
    store: Annotated[str, typer.Option(help="The store to write to: an SQLite file or a postgresql:// URL.")] = (
        DEFAULT_STORE
    ),
    format: Annotated[
        ImporterName | None,
        typer.Option(
            help="Format of the source; .gz, .zst, .bz2 and .xz are decompressed.",
            show_default="found out from its name or first bytes",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how rows would be read, check all of them, and store nothing.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row.")] = False,
    redact: Annotated[
        bool,
        typer.Option(
            "--redact",
            help="Replace e-mail addresses, phone numbers, keys and the like, except in id, user and policy.",
        ),
    ] = False,
    region: Annotated[
        str, typer.Option(help="With --redact: the region of phone numbers without a country code.")
    ] = "US",
    tenant: Annotated[str, typer.Option(help="The tenant that the edits belong to.")] = DEFAULT_TENANT,
    id_prefix: Annotated[str, typer.Option(help="Prefix for every id that a row has.", show_default=False)] = "",
    max_text: Annotated[
        int, typer.Option(help="Longest context, response or edit, in characters; longer rows are rejected.")
    ] = 1_000_000,
    rejected: Annotated[
        Path | None, typer.Option(help="The file for rejected rows.", show_default="SOURCE.rejected.jsonl")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Import edits into the store, each once.

    Reads JSON Lines, JSON, CSV, Parquet (compressed or not), data sets, exports of
    Langfuse and TensorZero, OpenAI chat logs, and git histories. Which key is
    which field is guessed and shown. Bad rows go to a file beside the source (for
    a URL: in the current folder) with their line and the reason. Rows that are in
    the store already are not stored again, so an import that was interrupted is
    finished by the same command.

    copydesk import edits.csv --dry-run

    copydesk import edits.csv --store copydesk.db --user author --redact

    copydesk import chats.jsonl --format openai --edits edits.jsonl
    """
    if max_text < 1:
        raise InputError(f"--max-text {max_text}: must be at least 1")
    check_tenant(tenant)
    found = open_import_source(source, format, importer.model_dump(), rejected=rejected)
    redactor = Redactor(region).redact_record if redact else None
    with _close_rows_at_exit(found.rows()) as stream:
        sample = list(islice(stream, _SAMPLE_ROWS))
        chosen = choose_mapping(found, sample, mapping.keys)
        parser = RowParser(chosen, tenant, id_prefix, max_text, redactor)
        if not as_json:
            _print_mapping(found, chosen)
        rows = chain(sample, stream)
        if dry_run:
            _dry_run(found, rows, parser, as_json)
            return
        opened = EditStore.open(store)
        try:
            metric = _resolve_cost_metric(opened, cost)
            with open_rejected_rows(found.rejected_path, found.unit) as bad, _show_progress(found) as progress:
                done = import_rows(found, rows, parser, opened, metric, bad, strict=strict, progress=progress)
            if not done.rows:
                raise InputError(f"{found.name}: there are no rows in it")
            _emit_result(found, opened, chosen, metric, done, bad.samples, as_json)
        finally:
            opened.close()


@contextlib.contextmanager
def _close_rows_at_exit(rows: Iterator[SourceRow]) -> Iterator[Iterator[SourceRow]]:
    """Rows whose files and processes are closed at the end, however that comes."""
    try:
        yield rows
    finally:
        if isinstance(rows, Generator):
            rows.close()


def _resolve_cost_metric(store: EditStore, cost: StoreCostOptions) -> EditCost:
    """The store's edit cost; a store that has none gets one, so that all its costs can be compared."""
    with store.begin_read() as connection:
        settings = Ledger().fold(read_setup_events(connection)).config
    if settings is not None and settings.cost:
        metric = cost.make_cost(settings.cost)
        if metric.name != settings.metric:
            raise _cost_mismatch_error(settings, metric)
        return metric
    metric = cost.make_cost({"cap": 3.0, "tokenizer": embedded.NAME})
    before = settings or EnsembleConfig()  # an older store has only the name of its metric
    if before.metric not in ("", metric.name):
        raise _cost_mismatch_error(before, metric)
    with store.begin_write() as tx:
        append_config(tx, before.replace(metric=metric.name, cost=asdict(metric)).to_json(), at=time.time())
    return metric


def _cost_mismatch_error(settings: EnsembleConfig, metric: EditCost) -> InputError:
    return InputError(
        f"this store's costs are {settings.metric}, not {metric.name}; leave out the options of the edit cost, "
        "or import into another store"
    )


@contextlib.contextmanager
def _show_progress(source: ImportSource) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr where that is a terminal: rows so far, and the share of the source where it is known."""
    console = make_console(stderr=True)
    columns = TextColumn("{task.fields[rows]:,} rows"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("rows", total=None, rows=0)

        def update(rows: int) -> None:
            share = source.progress()
            total = None if share is None else 1.0
            progress.update(task, rows=rows, completed=share or 0.0, total=total)

        yield update


def _dry_run(source: ImportSource, rows: Iterator[SourceRow], parser: RowParser, as_json: bool) -> None:
    """Read all rows and store none."""
    good = bad = pending = 0
    examples: list[EditRecord] = []
    rejected: list[tuple[int, str]] = []
    replaced: Counter[str] = Counter()
    with _show_progress(source) as progress:
        for parsed in parse_rows(rows, parser, replaced):
            if parsed.record is None:
                bad += 1
                if len(rejected) < RejectedRowWriter.MAX_SAMPLES:
                    rejected.append((parsed.row.number, parsed.error))
            else:
                good += 1
                pending += parsed.record.pending
                if len(examples) < _EXAMPLE_ROWS:
                    examples.append(parsed.record)
            if (good + bad) % 1000 == 0:
                progress(good + bad)
    document = {
        "source": source.name,
        "dry_run": True,
        "mapping": _describe_mapping(parser.mapping),
        "rows": good + bad,
        "good": good,
        "pending": pending,
        "rejected": bad,
        "first_rejected": _describe_rejected_rows(source, rejected),
        "replaced": dict(replaced),
        "examples": [record.model_dump(mode="json", exclude_none=True) for record in examples],
    }
    summary = f"{good} good rows ({pending} of them pending), {bad} bad ones. Nothing was stored."
    rendered = [*map(_render_example, examples), Text(summary), *_render_problems(source, rejected, replaced)]
    emit(document, Group(*rendered), as_json=as_json)


def _emit_result(
    source: ImportSource,
    store: EditStore,
    mapping: FieldMapping,
    metric: EditCost,
    done: ImportResult,
    rejected: list[tuple[int, str]],
    as_json: bool,
) -> None:
    document = {
        "source": source.name,
        "store": store.name,
        "metric": metric.name,
        "mapping": _describe_mapping(mapping),
        **done.to_json(),
        "rejected_file": str(source.rejected_path) if done.rejected else None,
        "first_rejected": _describe_rejected_rows(source, rejected),
    }
    table = _make_table()
    lines = {
        "store": store.name,
        "rows": f"{done.rows}",
        "added": f"{done.added}" + (f" ({done.pending} of them pending)" if done.pending else ""),
        "new edits of rows that were there": done.updated,
        "there already": done.known,
        "repeated in the source": done.repeated,
        "rejected": f"{done.rejected}, in {source.rejected_path}" if done.rejected else 0,
    }
    for name, value in lines.items():
        if value or name in ("rows", "added"):
            table.add_row(name, str(value))
    emit(document, Group(table, *_render_problems(source, rejected, done.replaced)), as_json=as_json)


def _print_mapping(source: ImportSource, mapping: FieldMapping) -> None:
    """Show how rows are read, before the import starts."""
    table = Table("field", "from", "", box=box.SIMPLE, title=f"{source.name}:", title_justify="left")
    for field, key, how in mapping.describe():
        table.add_row(field, key, how)
    make_console().print(table)


def _describe_mapping(mapping: FieldMapping) -> list[dict[str, str]]:
    return [{"field": field, "key": key, "how": how} for field, key, how in mapping.describe()]


def _describe_rejected_rows(source: ImportSource, rejected: list[tuple[int, str]]) -> list[dict[str, Any]]:
    return [{source.unit: place, "reason": reason} for place, reason in rejected]


def _render_problems(
    source: ImportSource, rejected: list[tuple[int, str]], replaced: Counter[str]
) -> Iterator[RenderableType]:
    """The first rejected rows, one a line, and what was redacted."""
    for place, reason in rejected:
        yield Text(f"{source.name}:{place}: {reason}")
    if replaced:
        yield Text("Replaced: " + ", ".join(f"{count} {kind}" for kind, count in sorted(replaced.items())) + ".")


def _render_example(record: EditRecord) -> RenderableType:
    """A record, its long texts cut."""
    table = _make_table()
    for field, value in record.model_dump(mode="json", exclude_none=True).items():
        if value != {}:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            table.add_row(field, text if len(text) <= _MAX_SHOWN_CHARS else text[: _MAX_SHOWN_CHARS - 1] + "…")
    if record.edit is None:
        table.add_row("edit", "pending")
    return table


def _make_table() -> Table:
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table
