"""`copydesk forget`: erase all data of one user."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from copydesk.cli._shared import emit
from copydesk.errors import InputError
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.forget import ForgetEntry, count_user_rows, format_row_counts
from copydesk.training.forget import (
    AffectedPolicy,
    ForgetResult,
    check_forgotten,
    find_affected_policies,
    forget_person,
    list_arm_folders,
)
from copydesk.utils.terminal import escape_control_characters


def forget_command(
    user: Annotated[str | None, typer.Option(help="User to forget, as listed by `copydesk users`.")] = None,
    store: Annotated[str, typer.Option(help="Store: an SQLite file or a database URL.")] = DEFAULT_STORE,
    tenant: Annotated[str | None, typer.Option(help="Tenant of the user.", show_default="all tenants")] = None,
    policies: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder to search for policies trained on the user's edits. Repeat for several.",
            show_default="policies, and the arms of the store",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased, and erase nothing.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Check that the user was forgotten; without --user, check the whole chain of entries."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation on a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Erase all data of one user: rows, statistics, caches. This cannot be undone.

    The user's completions and edits are deleted, their effect on the ensemble is
    removed, and the database is rewritten, so that none of its files holds them.
    Policies trained on the user's edits are listed: retire and retrain those. An
    entry in the log records that a user was forgotten, but not who; --check finds
    it again.

    copydesk forget --user ann --store copydesk.db

    copydesk forget --user ann --store copydesk.db --check
    """
    if user is None and not check:
        raise InputError("--user: name the user to forget; `copydesk users` lists them")
    folders = [Path("policies")] if policies is None else policies
    for folder in policies or []:
        if not folder.is_dir():
            raise InputError(f"--policies {folder}: there is no such folder; give one that contains policies")
    opened = EditStore.open(store, create=False)
    try:
        if check:
            _print_check(opened, user, tenant, as_json)
        elif dry_run:
            _print_preview(opened, str(user), tenant, folders, as_json)
        else:
            _confirm(opened, str(user), tenant, yes)
            _print_result(opened, str(user), forget_person(opened, str(user), tenant, folders), as_json)
    finally:
        opened.close()


def _confirm(store: EditStore, user: str, tenant: str | None, yes: bool) -> None:
    if yes or not sys.stdin.isatty():
        return
    with store.begin_read() as connection:
        counts = format_row_counts(count_user_rows(connection, user, tenant))
    question = f"Erase {counts} of {user!r} from {store.name}? This cannot be undone."
    if not typer.confirm(escape_control_characters(question, one_line=True), err=True):
        raise InputError("nothing was erased")


def _print_check(store: EditStore, user: str | None, tenant: str | None, as_json: bool) -> None:
    count, entries = check_forgotten(store, user, tenant)
    line = f"Entries of forgotten users: {count}, all seals valid."
    if user is not None:
        line += f" Nothing of {user!r} is in {store.name}."
    document = {"store": store.name, "entries": count, "forgotten": [entry.to_json() for entry in entries]}
    emit(document, Group(Text(line), *_render_entries(entries)), as_json=as_json)


def _print_preview(store: EditStore, user: str, tenant: str | None, folders: list[Path], as_json: bool) -> None:
    with store.begin_read() as connection:
        there = count_user_rows(connection, user, tenant)
        learners = find_affected_policies(user, [*folders, *list_arm_folders(connection)])
    document = {"store": store.name, "user": user, "there": there, "policies": [one.to_json() for one in learners]}
    summary = Text(f"{store.name} holds {format_row_counts(there)} of {user!r}. Nothing was erased.")
    emit(document, Group(summary, *_render_learners(learners)), as_json=as_json)


def _print_result(store: EditStore, user: str, done: ForgetResult, as_json: bool) -> None:
    document: dict[str, Any] = {
        "store": store.name,
        "user": user,
        "erased": done.erased,
        "caches": done.cache_files_removed,
        "policies": [one.to_json() for one in done.affected_policies],
        "entries": [entry.to_json() for entry in done.entries],
    }
    lines = [f"Erased from {store.name}: {format_row_counts(done.erased)}. The database was rewritten."]
    if done.cache_files_removed:
        lines.append(
            f"{done.cache_files_removed} cached files of reference log-probabilities were removed; training recreates "
            "them."
        )
    lines.append("Imported files, exported logs and backups are not erased: erase them yourself.")
    emit(
        document,
        Group(*map(Text, lines), *_render_learners(done.affected_policies), *_render_entries(done.entries)),
        as_json=as_json,
    )


def _render_learners(learners: list[AffectedPolicy]) -> list[RenderableType]:
    if not learners:
        return [Text("No policy was found that was trained on the user's edits.")]
    table = Table("policy trained on their edits", "folder", "")
    for one in learners:
        table.add_row(one.name, str(one.folder), "" if one.certain else "possibly: it does not record its users")
    return [table, Text("Retire these (`copydesk policies retire`) and retrain them without this user.")]


def _render_entries(entries: list[ForgetEntry]) -> list[RenderableType]:
    if not entries:
        return []
    table = Table("forgotten at", "erased", "seal")
    for entry in entries:
        moment = datetime.fromtimestamp(entry.at, UTC)
        table.add_row(f"{moment:%Y-%m-%d %H:%M} UTC", format_row_counts(entry.erased), entry.seal[:16])
    return [table]
