"""Shared by the commands: logs to read, policies as NAME=SPEC, options of a store's edit cost, progress and output."""

import json
import logging
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from rich.console import Console, ConsoleOptions, RenderableType, RenderHook
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from sqlalchemy import Connection

from copydesk import embedded, model_registry
from copydesk.data.cost import CostNormalization, CostUnit, EditCost
from copydesk.data.jsonl import load_log, read_jsonl
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.policy_spec import PolicySpec, SpecCommand
from copydesk.store import EditStore, read_edits
from copydesk.store.users import read_users
from copydesk.utils.atomic import open_to_read
from copydesk.utils.config import Config, Flag
from copydesk.utils.terminal import escape_control_characters, log_to_stream
from copydesk.utils.times import parse_since

_COST_PANEL = "Edit cost (fixed once a store has one)"


class StoreCostOptions(Config):
    """The edit cost of a store: of a new one what it counts, of another what these options must agree with."""

    unit: Annotated[
        CostUnit | None,
        Flag("--cost-unit", "--unit", default_text="subtoken", panel=_COST_PANEL),
        Field(description="Unit in which edits are counted."),
    ] = None
    normalize: Annotated[
        CostNormalization | None,
        Flag("--cost-normalize", "--normalize", default_text="response", panel=_COST_PANEL),
        Field(description="Text whose length divides the cost."),
    ] = None
    cap: Annotated[
        float | None,
        Flag("--c-max", default_text="3", panel=_COST_PANEL),
        Field(description="Largest possible cost of an edit."),
    ] = None
    tokenizer: Annotated[
        str | None,
        Flag(default_text="that of the first local policy, else embedded", panel=_COST_PANEL),
        Field(description="Tokenizer of the sub-tokens: a model's folder, a hub id, 'embedded' or 'smollm2'."),
    ] = None

    def make_cost(self, settings: Mapping[str, Any]) -> EditCost:
        """The edit cost of these settings, with the options that were given in their place."""
        return EditCost(**(dict(settings) | self.model_dump(exclude_none=True)))


class _EscapedRenderable:
    """Something to print whose text has its control characters escaped once it is laid out."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for text, style, control in console.render(self._inner, options):
            yield Segment(text if control else escape_control_characters(text), style, control)


class _EscapeHook(RenderHook):
    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        return [_EscapedRenderable(one) for one in renderables]


def make_console(*, stderr: bool = False) -> Console:
    """A console that shows text as it is, not as Rich markup, and escapes control characters in it."""
    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    console.push_render_hook(_EscapeHook())
    return console


def load_records(
    data: Path | None,
    store: str | None,
    since: str | None,
    user: str | None,
    tenant: str | None,
    group: str | None = None,
) -> tuple[list[EditRecord], str]:
    """The records, and what to call where they come from.

    Raises:
        InputError: neither or both are given, what is given cannot be read, or there is nothing in it.
    """
    if (data is None) == (store is None):
        raise InputError("give the log either as --data FILE or as --store URL")
    if data is not None:
        for option, value in (("--since", since), ("--user", user), ("--group", group), ("--tenant", tenant)):
            if value is not None:
                raise InputError(f"{option} {value}: it chooses rows of a store; give --store, or leave it out")
        return load_log(data), str(data)
    opened = EditStore.open(str(store), create=False)
    try:
        moment = None if since is None else parse_since(since)
        with opened.begin_read() as connection:
            found = read_edits(connection, tenant=tenant, user=user, group=group, since=moment)
            records = [row.record for row in found]
            if not records:
                raise no_rows_error(connection, opened.name, user=user, group=group, tenant=tenant)
        return records, opened.name
    finally:
        opened.close()


def no_rows_error(
    connection: Connection, store: str, *, user: str | None, group: str | None, tenant: str | None
) -> InputError:
    """Make the error of a command whose filters match no edits; it says what the store has instead.

    Args:
        connection: to the store.
        store: what to call it.
        user: the user that was given, if any.
        group: the group that was given, if any.
        tenant: the tenant that was given, if any.
    """
    if user is None and group is None:
        return InputError(f"--store {store}: it holds no such edits yet; collect some with `copydesk serve`")
    members: Counter[str] = Counter()
    edits: Counter[str] = Counter()
    for person in read_users(connection, "", tenant=tenant):
        edits[person.user] += person.edits
        if person.group is not None:
            members[person.group] += 1
    given = (("user", user), ("group", group), ("tenant", tenant))
    asked = " of ".join(f"{what} {name!a}" for what, name in given if name is not None)
    if group is not None and not members[group]:
        there = f"its groups are {_describe_largest(members)}" if +members else "nobody is in a group yet"
    else:
        there = f"there are edits of {_describe_largest(edits)}" if +edits else "there are none of anybody who is named"
    return InputError(f"--store {store}: it holds no such edits of {asked}; {there}; see `copydesk users`")


def _describe_largest(counts: Counter[str], most: int = 3) -> str:
    """The largest of some counts: `'ann' (12), 'bob' (3) and 4 more`."""
    parts = [f"{name!a} ({count})" for name, count in (+counts).most_common(most)]
    more = len(+counts) - len(parts)
    return ", ".join(parts) + (f" and {more} more" if more else "")


def parse_policy_args(command: SpecCommand, words: Sequence[str], demo: Path | None) -> dict[str, str]:
    """The specs of a command's policies by name, those of a demo run first.

    Args:
        command: the command, which decides what forms of a spec are taken.
        words: NAME=SPEC, as given with `--policy`.
        demo: the folder of a demo run whose policies are taken, given with `--from`.

    Raises:
        InputError: a word is not NAME=SPEC, the command does not take the form of a spec, a name is given twice, or the
            folder holds no policies.
    """
    specs: dict[str, str] = {}
    if demo is not None:
        folders = sorted((demo / "policies").glob("*/policy.json"))
        if not folders:
            raise InputError(f"--from {demo}: no policies there; give the folder that `copydesk demo` wrote")
        specs = {path.parent.name: str(path.parent) for path in folders}
    for word in words:
        name, spec = parse_policy_arg(command, word)
        if name in specs:
            raise InputError(f"--policy {word}: there are two policies named {name!r}; choose another name")
        specs[name] = spec
    return specs


def parse_policy_arg(command: SpecCommand, word: str, option: str = "--policy") -> tuple[str, str]:
    """The name and the spec of a policy that a command is given as NAME=SPEC.

    Raises:
        InputError: the word is not NAME=SPEC, or the command does not take the form of the spec.
    """
    name, equals, spec = word.partition("=")
    if not (name and equals and spec):
        raise InputError(f"{option} {word}: write NAME=SPEC, such as base=embedded")
    PolicySpec.parse(spec).check_command(command)
    return name, spec


def resolve_spec(spec: str) -> str:
    """A spec with an absolute path, so that a gateway in another folder finds it; one without a path unchanged."""
    if spec == embedded.NAME or spec in model_registry.PINNED_MODEL_NAMES:
        return spec  # even where a folder here is called so
    path = PolicySpec.parse(spec).model
    # A hub id that is also a folder here means the folder, as it does to `load_model`.
    before = "vllm:" if spec.startswith("vllm:") else ""
    found = path and Path(path).exists()
    return f"{before}{Path(path).resolve()}{spec[len(before) + len(path) :]}" if found else spec


def iter_with_progress(file: Path, what: str) -> Iterator[EditRecord]:
    """The records of a log, with a progress bar on stderr, labelled `what`, where that is a terminal.

    Raises:
        InputError: the file cannot be read, or a row is not valid.
    """
    records = read_jsonl(file)
    console = make_console(stderr=True)
    if not console.is_terminal or not file.is_file():
        yield from records
        return
    with open_to_read(file) as lines:
        total = sum(1 for _ in lines)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(records, total=total)


def iter_store_with_progress(store: str, what: str, **wanted: Any) -> Generator[EditRecord, None, None]:
    """The records of a store that `read_edits` finds for `wanted`, with their number on stderr likewise.

    Raises:
        InputError: the store cannot be opened.
    """
    opened = EditStore.open(store, create=False)
    console = make_console(stderr=True)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn()
    try:
        with (
            opened.begin_read() as connection,
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ):
            for row in progress.track(read_edits(connection, **wanted), total=None):
                yield row.record
    finally:
        opened.close()


def emit(document: dict[str, Any], rendered: RenderableType, *, as_json: bool) -> None:
    """Print a command's result on stdout.

    Args:
        document: the result as JSON values; printed alone when `dump_json_line`. Non-ASCII text is escaped, so that the
            document survives every terminal and pipe.
        rendered: the same for people. Text in it is shown as it is: nothing is read as Rich markup.
        as_json: whether a program is reading.
    """
    if as_json:
        print(json.dumps(document, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))
    else:
        make_console().print(rendered)


def log_to_stderr(name: str) -> None:
    """Show on stderr, as plain lines, what the part of the library with this name has to say, and nothing else."""
    log_to_stream(name, logging.INFO, sys.stderr)
