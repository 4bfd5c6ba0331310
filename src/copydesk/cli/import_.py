"""`copydesk import`: edits from elsewhere into the store.

The source that `copydesk import` was given: a file, a data set, a product's export, or a git history.

What `copydesk import` says: how rows are read, and what became of them.
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from copydesk import embedded
from copydesk.cli._shared import emit, parse_since
from copydesk.data.cost import CostNormalization, CostUnit, EditCost
from copydesk.data.importers.base import ImportSource, SourceRow
from copydesk.data.importers.files import ImportFormat, open_row_source
from copydesk.data.importers.git_edits import MACHINE_COMMIT_PATTERNS, EditorNaming, build_git_source
from copydesk.data.importers.langfuse import build_langfuse_source
from copydesk.data.importers.openai_chat import build_openai_source
from copydesk.data.importers.tensorzero import build_tensorzero_source
from copydesk.data.mapping import IDENTITY_MAPPING, FieldMapping, guess_mapping
from copydesk.data.record import EditRecord
from copydesk.data.redact import Redactor
from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.api_keys import DEFAULT_TENANT, check_tenant
from copydesk.store.events import read_setup_events
from copydesk.store.import_rows import ImportResult, RowParser, import_rows, open_rejected_rows, parse_rows
from copydesk.store.write import append_config

ImportProduct = Literal["langfuse", "tensorzero", "openai", "git"]
ImportSourceFormat = Literal[
    "jsonl", "json", "csv", "tsv", "parquet", "dataset", "langfuse", "tensorzero", "openai", "git"
]


@dataclass(frozen=True)
class ImportArgs:
    """What the options of `copydesk import` say of its source; each is `None` or empty where it was not given."""

    source: str
    format: ImportSourceFormat | None = None
    split: str | None = None
    config: str | None = None
    edits: str | None = None
    requests: str | None = None
    user_tag: str | None = None
    mark: Sequence[str] = ()
    branch: str | None = None
    since: str | None = None
    author: EditorNaming | None = None
    rejected: Path | None = None


_OPTION_FORMATS: dict[str, tuple[str, ...]] = {
    "split": ("dataset",),
    "config": ("dataset",),
    "edits": ("openai", "langfuse", "tensorzero"),
    "requests": ("openai",),
    "user_tag": ("tensorzero",),
    "mark": ("git",),
    "branch": ("git",),
    "since": ("git",),
    "author": ("git",),
}
"""Options and the formats they mean something for."""


def open_import_source(given: ImportArgs) -> ImportSource:
    """Open the source.

    Raises:
        InputError: there is none, its format is not known, or an option does not go with it.
    """
    _check_options(given)
    source = _open_source(given)
    return source if given.rejected is None else replace(source, rejected_path=given.rejected)


def _open_source(given: ImportArgs) -> ImportSource:
    match given.format:
        case "git":
            since = None if given.since is None else parse_since(given.since)
            return build_git_source(
                given.source,
                mark=given.mark or MACHINE_COMMIT_PATTERNS,
                since=since,
                branch=given.branch or "HEAD",
                user=given.author or "name",
            )
        case "openai":
            if given.edits is None:
                raise InputError("--format openai: name the file of what people made of the answers with --edits FILE")
            requests = None if given.requests is None else open_row_source(given.requests)
            return build_openai_source(open_row_source(given.source), open_row_source(given.edits), requests=requests)
        case "langfuse":
            return build_langfuse_source(open_row_source(given.source), _open_companion_file(given))
        case "tensorzero":
            tag = given.user_tag or "user_id"
            return build_tensorzero_source(open_row_source(given.source), _open_companion_file(given), user_tag=tag)
        case _:
            return open_row_source(
                given.source, format=_to_file_format(given.format), split=given.split or "train", config=given.config
            )


def _open_companion_file(given: ImportArgs) -> ImportSource | None:
    return None if given.edits is None else open_row_source(given.edits)


def _to_file_format(format: ImportSourceFormat | None) -> ImportFormat | None:
    return next((known for known in get_args(ImportFormat) if known == format), None)


def _check_options(given: ImportArgs) -> None:
    for option, formats in _OPTION_FORMATS.items():
        if not getattr(given, option) or given.format in formats:
            continue
        if formats == ("dataset",) and given.format is None:
            continue  # a folder or a hub id is known for a data set without being told
        raise InputError(
            f"--{option.replace('_', '-')} goes with --format {' or '.join(formats)}; leave it out, or add that"
        )


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
    except InputError as exc:
        raise InputError(f"{source.name}: {exc}") from None
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
        append_config(tx, before.replace(metric=metric.name, cost=asdict(metric)).to_json(), at=time.time())
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
