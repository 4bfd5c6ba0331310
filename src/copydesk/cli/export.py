"""`copydesk export`: the log in the formats others know."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from copydesk.cli.collected import parse_since
from copydesk.cli.output import emit
from copydesk.cli.rows import passing, passing_store
from copydesk.errors import InputError
from copydesk.log.exports import Exported, Filter, Form, Format, check_target, chosen
from copydesk.log.exports import export as write
from copydesk.log.exports.export import STDOUT
from copydesk.log.record import EditRecord
from copydesk.log.store import DEFAULT
from copydesk.log.store.connect import parse_url, shown


def export(
    out: Annotated[Path, typer.Option(help="The file to write; its ending may be .gz or .zst; - is standard output.")],
    format: Annotated[
        Format | None,
        typer.Option(
            help="A log (jsonl, parquet), or a set for TRL (preference, prompt-completion, kto).",
            show_default="parquet if --out ends so, else jsonl",
        ),
    ] = None,
    store: Annotated[str | None, typer.Option(help="The store, a file or a URL.", show_default=DEFAULT)] = None,
    data: Annotated[Path | None, typer.Option(help="Or a log as JSON Lines.", show_default=False)] = None,
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
    policy: Annotated[str | None, typer.Option(help="Only answers of this policy.", show_default="all")] = None,
    at_least: Annotated[float | None, typer.Option(help="Only edits that cost as much.", show_default="all")] = None,
    at_most: Annotated[float | None, typer.Option(help="Only edits that cost no more.", show_default="all")] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Also answers without an edit (jsonl, parquet).")] = False,
    form: Annotated[
        Form,
        typer.Option(help="Of a set: text, or chat for models with a chat template; auto is that of the first row."),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Write the log to a file: as it is, or as a set that TRL trains on.

    In a set, an edit beats its response (preference), is what was wanted
    (prompt-completion), or is good where the response was not (kto). Sets are
    Parquet where --out ends in .parquet, else JSON Lines. The file appears when
    it is whole.

    copydesk export --store copydesk.db --out log.jsonl.gz

    copydesk export --format preference --form chat --since 30d --out dpo.parquet
    """
    format = format or ("parquet" if out.suffix == ".parquet" else "jsonl")
    check_target(out, format, form, overwrite=force)
    if pending and format not in ("jsonl", "parquet"):
        raise InputError(f"--pending: a {format} set is made of edits; leave it out, or write jsonl or parquet")
    if as_json and out == STDOUT:
        raise InputError("--json and --out - both write to standard output; name a file, or leave out --json")
    wanted = Filter(
        user=user,
        policy=policy,
        since=None if since is None else parse_since(since),
        until=None if until is None else parse_since(until, "--until"),
        at_least=at_least,
        at_most=at_most,
        pending=pending,
    )
    done = Exported()
    if data is None:
        source = shown(parse_url(store or DEFAULT))
        records = passing_store(store or DEFAULT, "rows", tenant=tenant, group=group, **asdict(wanted))
    else:
        source = str(data)
        records = _of_file(data, wanted, out, done, {"--store": store, "--group": group, "--tenant": tenant})
    with closing(records):
        write(records, out, format, form, overwrite=force, done=done)
    document = {"log": source, "out": str(out), "format": format, **done.to_json()}
    if out == STDOUT:
        Console(stderr=True, markup=False, highlight=False).print(_rendered(document))
    else:
        emit(document, _rendered(document), as_json=as_json)


def _of_file(
    data: Path, wanted: Filter, out: Path, done: Exported, of_store: dict[str, str | None]
) -> Generator[EditRecord, None, None]:
    """The records that are wanted of a log; `of_store` are options that go with a store."""
    for option, value in of_store.items():
        if value is not None:
            raise InputError(f"{option} goes with a store, not with --data; leave one of them out")
    if out.exists() and data.exists() and out.samefile(data):
        raise InputError(f"{out}: --out is the log itself and would replace it; choose another name")
    yield from chosen(passing(data, "rows"), wanted, done.left_out)


def _rendered(document: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name in ("log", "out", "format", "records", "rows"):
        table.add_row(name, str(document[name]))
    for why, count in document["left_out"].items():
        table.add_row("left out", f"{count} ({why})")
    if count := document["cut_messages"]:
        table.add_row("messages", f"of {count} records only role and content went out")
    return table
