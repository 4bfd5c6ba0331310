"""`copydesk import`: edits from elsewhere into the store."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from copydesk import embedded
from copydesk.cli.imported import (
    describe_mapping,
    describe_rejected_rows,
    print_mapping,
    render_example_record,
    render_import,
    render_redactions,
    render_rejected_rows,
)
from copydesk.cli.output import emit
from copydesk.cli.sourced import ImportArgs, ImportSourceFormat, open_import_source
from copydesk.data.cost import CostNormalization, CostUnit, EditCost
from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.importers.git_edits import EditorNaming
from copydesk.data.mapping import IDENTITY_MAPPING, FieldMapping, guess_mapping
from copydesk.data.record import EditRecord
from copydesk.data.redact import Redactor
from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.api_keys import DEFAULT_TENANT, check_tenant
from copydesk.store.checked import RowParser, parse_rows
from copydesk.store.events import read_setup_events
from copydesk.store.import_rows import import_rows
from copydesk.store.rejected import open_rejected_rows
from copydesk.store.write import append_config

_SAMPLE_ROWS = 100  # rows that fields are guessed from
_EXAMPLE_ROWS = 3  # rows that a dry run shows

_FIELD_PANEL = "Which key is which field (KEY, a path such as meta.user, or none)"
_PRODUCT_PANEL = "Products and git"
_COST_PANEL = "Edit cost, of a store that has none yet"


def import_command(
    source: Annotated[
        str, typer.Argument(help="A file, a folder, a data set's id on the hub, a git repository, or - for stdin.")
    ],
    store: Annotated[str, typer.Option(help="Where to: an SQLite file or a postgresql:// URL.")] = DEFAULT_STORE,
    format: Annotated[
        ImportSourceFormat | None,
        typer.Option(help="Of the source; .gz and .zst are unpacked.", show_default="what its name or beginning says"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how rows would be read, check them all, and store nothing.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row.")] = False,
    redact: Annotated[
        bool,
        typer.Option(
            "--redact", help="Replace e-mail addresses, phone numbers, keys and the like; not in id, user and policy."
        ),
    ] = False,
    region: Annotated[str, typer.Option(help="With --redact: of phone numbers without a country's code.")] = "US",
    tenant: Annotated[str, typer.Option(help="Whose edits they are.")] = DEFAULT_TENANT,
    id_prefix: Annotated[str, typer.Option(help="Put before every id that rows have.", show_default=False)] = "",
    max_text: Annotated[
        int, typer.Option(help="Longest context, response or edit, in characters; longer rows are rejected.")
    ] = 1_000_000,
    rejected: Annotated[
        Path | None, typer.Option(help="Where rejected rows go.", show_default="SOURCE.rejected.jsonl")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of a data set.", show_default="train")] = None,
    config: Annotated[str | None, typer.Option(help="Of a data set.", show_default=False)] = None,
    context: Annotated[
        str | None, typer.Option(help="What was asked.", rich_help_panel=_FIELD_PANEL, show_default="guessed")
    ] = None,
    response: Annotated[
        str | None, typer.Option(help="What was answered.", rich_help_panel=_FIELD_PANEL, show_default="guessed")
    ] = None,
    edit: Annotated[
        str | None,
        typer.Option(help="What the person made of it.", rich_help_panel=_FIELD_PANEL, show_default="guessed"),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Who edited.", rich_help_panel=_FIELD_PANEL, show_default="guessed")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Who answered.", rich_help_panel=_FIELD_PANEL, show_default="guessed")
    ] = None,
    propensity: Annotated[
        str | None,
        typer.Option(help="With what probability it was chosen.", rich_help_panel=_FIELD_PANEL, show_default="guessed"),
    ] = None,
    created_at: Annotated[
        str | None, typer.Option(help="When.", rich_help_panel=_FIELD_PANEL, show_default="guessed")
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", help="The row's name.", rich_help_panel=_FIELD_PANEL, show_default="guessed")
    ] = None,
    edits: Annotated[
        str | None,
        typer.Option(
            help="The file beside it: edits (openai), scores (langfuse), demonstrations (tensorzero).",
            rich_help_panel=_PRODUCT_PANEL,
            show_default=False,
        ),
    ] = None,
    requests: Annotated[
        str | None,
        typer.Option(help="The input file of a batch (openai).", rich_help_panel=_PRODUCT_PANEL, show_default=False),
    ] = None,
    user_tag: Annotated[
        str | None,
        typer.Option(
            help="The tag that names the user (tensorzero).", rich_help_panel=_PRODUCT_PANEL, show_default="user_id"
        ),
    ] = None,
    mark: Annotated[
        list[str] | None,
        typer.Option(
            help="A regular expression of message lines that mark a machine's commit (git). Give several.",
            rich_help_panel=_PRODUCT_PANEL,
            show_default="the usual trailers",
        ),
    ] = None,
    branch: Annotated[
        str | None, typer.Option(help="Whose history (git).", rich_help_panel=_PRODUCT_PANEL, show_default="HEAD")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Machine's commits from then on (git).", rich_help_panel=_PRODUCT_PANEL, show_default="all"),
    ] = None,
    author: Annotated[
        EditorNaming | None,
        typer.Option(help="How the person is named (git).", rich_help_panel=_PRODUCT_PANEL, show_default="name"),
    ] = None,
    unit: Annotated[
        CostUnit | None, typer.Option(help="What is counted.", rich_help_panel=_COST_PANEL, show_default="subtoken")
    ] = None,
    normalize: Annotated[
        CostNormalization | None,
        typer.Option(help="Whose length it is divided by.", rich_help_panel=_COST_PANEL, show_default="response"),
    ] = None,
    c_max: Annotated[
        float | None, typer.Option(help="The largest cost there is.", rich_help_panel=_COST_PANEL, show_default="3")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Whose sub-tokens.", rich_help_panel=_COST_PANEL, show_default="embedded")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Bring edits from elsewhere into the store, each once.

    Reads JSON Lines, JSON, CSV, Parquet (packed or not), data sets, exports of
    Langfuse and TensorZero, OpenAI chat logs, and git histories. Which key is
    which field is guessed and shown. Bad rows go to a file beside the source with
    their line and the reason; what is there already is not stored again. Stopped
    or killed, the same command does the rest.

    copydesk import edits.csv --dry-run

    copydesk import edits.csv --store copydesk.db --user author --redact

    copydesk import chats.jsonl --format openai --edits edits.jsonl
    """
    if max_text < 1:
        raise InputError(f"--max-text {max_text}: must be at least 1")
    check_tenant(tenant)
    found = open_import_source(
        ImportArgs(
            source, format, split, config, edits, requests, user_tag, mark or (), branch, since, author, rejected
        )
    )
    keys = {
        "id": id,
        "context": context,
        "response": response,
        "edit": edit,
        "user": user,
        "policy": policy,
        "propensity": propensity,
        "created_at": created_at,
    }
    given = {field: key for field, key in keys.items() if key is not None}
    redacted = Redactor(region).redact_record if redact else None
    with _close_rows_at_exit(found.rows()) as stream:
        sample = list(islice(stream, _SAMPLE_ROWS))
        mapping = _choose_mapping(found, sample, given)
        reading = RowParser(mapping, tenant, id_prefix, max_text, redacted)
        print_mapping(found, mapping, as_json)
        rows = chain(sample, stream)
        if dry_run:
            _dry_run(found, rows, reading, as_json)
            return
        chosen = {"unit": unit, "normalize": normalize, "cap": c_max, "tokenizer": tokenizer}
        opened = EditStore.open(store)
        try:
            metric = _resolve_cost_metric(opened, {name: value for name, value in chosen.items() if value is not None})
            with open_rejected_rows(found.rejected_path, found.unit) as bad, _show_progress(found) as progress:
                done = import_rows(found, rows, reading, opened, metric, bad, strict=strict, progress=progress)
            if not done.rows:
                raise InputError(f"{found.name}: there are no rows in it")
            render_import(found, opened, mapping, metric, done, bad.samples, as_json)
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


def _choose_mapping(source: ImportSource, sample: list[SourceRow], given: dict[str, str]) -> FieldMapping:
    if not sample:
        raise InputError(f"{source.name}: there are no rows in it")
    if source.has_record_fields and not given:
        return IDENTITY_MAPPING
    fields = [row.fields for row in sample if row.fields is not None]
    if not fields and sample[0].error:
        raise InputError(f"{source.name}:{sample[0].number}: {sample[0].error} (nor could the rows after it be read)")
    try:
        mapping = guess_mapping(fields, given, texts=source.all_text)
    except InputError as fault:
        raise InputError(f"{source.name}: {fault}") from None
    if "edit" not in mapping.paths and "edit" not in given:
        keys = ", ".join(map(repr, mapping.metadata_keys)) or "no others"
        raise InputError(
            f"{source.name}: no key could be the edit; name it with --edit KEY (there are {keys}), or say --edit none "
            "where every row still waits for it"
        )
    return mapping


def _resolve_cost_metric(store: EditStore, chosen: dict[str, Any]) -> EditCost:
    """The store's edit cost; a store that has none gets one, so that all its costs can be compared."""
    with store.begin_read() as connection:
        settings = Ledger().fold(read_setup_events(connection)).config
    if settings is not None and settings.cost:
        metric = EditCost(**(dict(settings.cost) | chosen))
        if metric.name != settings.metric:
            raise _cost_mismatch_error(settings, metric)
        return metric
    usual: dict[str, Any] = {"cap": 3.0, "tokenizer": embedded.NAME}
    metric = EditCost(**(usual | chosen))
    before = settings or EnsembleConfig()  # an older store's name its costs alone
    if before.metric not in ("", metric.name):
        raise _cost_mismatch_error(before, metric)
    with store.begin_write() as tx:
        append_config(tx, replace(before, metric=metric.name, cost=asdict(metric)).to_json(), at=time.time())
    return metric


def _cost_mismatch_error(settings: EnsembleConfig, metric: EditCost) -> InputError:
    return InputError(
        f"this store's costs are {settings.metric}, not {metric.name}; leave out the options of the edit cost, "
        "or import into another store"
    )


@contextlib.contextmanager
def _show_progress(source: ImportSource) -> Iterator[Callable[[int], None]]:
    """A bar on stderr where that is a terminal: rows so far, and the share that was read where it is known."""
    console = Console(stderr=True)
    columns = TextColumn("{task.fields[rows]:,} rows"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("rows", total=None, rows=0)

        def tell(rows: int) -> None:
            share = source.progress()
            total = None if share is None else 1.0
            progress.update(task, rows=rows, completed=share or 0.0, total=total)

        yield tell


def _dry_run(source: ImportSource, rows: Iterator[SourceRow], reading: RowParser, as_json: bool) -> None:
    """Read all rows and store none."""
    good = bad = pending = 0
    first: list[EditRecord] = []
    faults: list[tuple[int, str]] = []
    replaced: Counter[str] = Counter()
    with _show_progress(source) as progress:
        for one in parse_rows(rows, reading, replaced):
            if one.record is None:
                bad += 1
                if len(faults) < 5:
                    faults.append((one.row.number, one.error))
            else:
                good += 1
                pending += one.record.pending
                if len(first) < _EXAMPLE_ROWS:
                    first.append(one.record)
            if (good + bad) % 1000 == 0:
                progress(good + bad)
    document = {
        "source": source.name,
        "dry_run": True,
        "mapping": describe_mapping(reading.mapping),
        "rows": good + bad,
        "good": good,
        "pending": pending,
        "rejected": bad,
        "first_rejected": describe_rejected_rows(source, faults),
        "replaced": dict(replaced),
        "examples": [record.model_dump(mode="json", exclude_none=True) for record in first],
    }
    examples = [render_example_record(record) for record in first]
    said = f"{good} good rows ({pending} of them pending), {bad} bad ones. Nothing was stored."
    emit(
        document,
        Group(*examples, Text(said), *render_rejected_rows(source, faults), *render_redactions(replaced)),
        as_json=as_json,
    )
