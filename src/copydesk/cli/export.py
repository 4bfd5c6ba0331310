"""`copydesk export`: writes the log as JSON Lines, Parquet or a data set for TRL."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from copydesk.cli._shared import emit, iter_store_with_progress, iter_with_progress, make_console
from copydesk.data.exporters import (
    DatasetForm,
    ExportFormat,
    ExportResult,
    RecordFilter,
    check_export_target,
    filter_records,
)
from copydesk.data.exporters import export_records as write
from copydesk.data.exporters.export import STDOUT, get_export_suffix
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.store import DEFAULT_STORE
from copydesk.store.store import hide_password, parse_store_url
from copydesk.utils.remote import hide_url_credentials, is_url
from copydesk.utils.times import parse_since


def export_command(
    out: Annotated[
        str,
        typer.Option(
            help="The file or URL (s3://, gs://, hf://) to write, or - for stdout; .gz, .zst, .bz2 and .xz compress."
        ),
    ],
    format: Annotated[
        ExportFormat | None,
        typer.Option(
            help="Format: a log (jsonl, parquet), or a data set for TRL (preference, prompt-completion, kto).",
            show_default="parquet if --out ends so, else jsonl",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="The store to read: an SQLite file or a postgresql:// URL.", show_default=DEFAULT_STORE),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A log as JSON Lines, to read in place of a store.", show_default=False)
    ] = None,
    user: Annotated[str | None, typer.Option(help="Only edits of this user.", show_default="all")] = None,
    group: Annotated[
        str | None, typer.Option(help="With --store: only of users who are in this group now.", show_default="all")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="With --store: only of this tenant.", show_default="all")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only edits since this date or time, or 7d, 12h.", show_default="all")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only edits before this date or time, or 7d, 12h.", show_default="all")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="Only responses of this policy.", show_default="all")] = None,
    at_least: Annotated[
        float | None, typer.Option(help="Only edits of at least this cost.", show_default="all")
    ] = None,
    at_most: Annotated[float | None, typer.Option(help="Only edits of at most this cost.", show_default="all")] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Also rows without an edit (jsonl, parquet).")] = False,
    form: Annotated[
        DatasetForm,
        typer.Option(help="Form of a data set: text, or chat (for chat templates); auto is the form of the first row."),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Write the log to a file: as it is, or as a data set for TRL.

    In a data set for TRL the edit is preferred to the response (preference), is
    the completion to learn (prompt-completion), or is labelled good and the
    response bad (kto). It is Parquet where --out ends in .parquet, else JSON
    Lines. The file appears once it is complete.

    copydesk export --store copydesk.db --out log.jsonl.gz

    copydesk export --format preference --form chat --since 30d --out dpo.parquet
    """
    format = format or ("parquet" if get_export_suffix(out) == ".parquet" else "jsonl")
    check_export_target(out, format, form, overwrite=force)
    if pending and format not in ("jsonl", "parquet"):
        raise InputError(f"--pending: a {format} data set is made of edits; leave it out, or write jsonl or parquet")
    if as_json and out == STDOUT:
        raise InputError("--json and --out - both write to standard output; name a file, or leave out --json")
    wanted = RecordFilter(
        user=user,
        policy=policy,
        since=None if since is None else parse_since(since),
        until=None if until is None else parse_since(until, "--until"),
        at_least=at_least,
        at_most=at_most,
        pending=pending,
    )
    done = ExportResult()
    if data is None:
        source = hide_password(parse_store_url(store or DEFAULT_STORE))
        records = iter_store_with_progress(store or DEFAULT_STORE, "rows", tenant=tenant, group=group, **asdict(wanted))
    else:
        source = str(data)
        records = _iter_file_records(data, wanted, out, done, {"--store": store, "--group": group, "--tenant": tenant})
    with closing(records):
        write(records, out, format, form, overwrite=force, done=done)
    document = {"log": source, "out": hide_url_credentials(out), "format": format, **done.to_json()}
    if out == STDOUT:
        make_console(stderr=True).print(_render_export(document))
    else:
        emit(document, _render_export(document), as_json=as_json)


def _iter_file_records(
    data: Path, wanted: RecordFilter, out: str, done: ExportResult, store_options: dict[str, str | None]
) -> Generator[EditRecord, None, None]:
    """The records of a log that pass the filter; `store_options` must not be given with a log."""
    for option, value in store_options.items():
        if value is not None:
            raise InputError(f"{option} goes with a store, not with --data; leave one of them out")
    if not is_url(out) and Path(out).exists() and data.exists() and data.samefile(out):
        raise InputError(f"{out}: --out is the log itself, which would be replaced; choose another name")
    yield from filter_records(iter_with_progress(data, "rows"), wanted, done.left_out)


def _render_export(document: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name in ("log", "out", "format", "records", "rows"):
        table.add_row(name, str(document[name]))
    for why, count in document["left_out"].items():
        table.add_row("left out", f"{count} ({why})")
    if count := document["cut_messages"]:
        table.add_row("messages", f"{count} records lost message keys other than role and content")
    return table
