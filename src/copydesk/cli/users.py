"""`copydesk users`: list the users in a store and assign them to groups."""

import time
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from copydesk.cli._shared import emit
from copydesk.errors import InputError
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.api_keys import DEFAULT_TENANT
from copydesk.store.users import StoredUser, assign_group, read_current_metric, read_users

users_app = typer.Typer(help="List the users in a store and assign them to groups.", invoke_without_command=True)

_Store = Annotated[str, typer.Option(help="Store: an SQLite file or a database URL.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@users_app.callback()
def list_users_command(
    ctx: typer.Context,
    store: _Store = DEFAULT_STORE,
    tenant: Annotated[str | None, typer.Option(help="List only the users of this tenant.", show_default="all")] = None,
    as_json: _Json = False,
) -> None:
    """List every user with their completions, edits, group and reserved policies.

    copydesk users --store copydesk.db

    copydesk users group sales ann bob
    """
    if ctx.invoked_subcommand is not None:
        # Options before the sub-command apply to it.
        ctx.default_map = {ctx.invoked_subcommand: {"store": store, "tenant": tenant or DEFAULT_TENANT}}
        return
    opened = EditStore.open(store, create=False)
    try:
        with opened.begin_read() as connection:
            metric = read_current_metric(connection)
            found = list(read_users(connection, metric, tenant=tenant))
    finally:
        opened.close()
    document = {"store": opened.name, "metric": metric, "users": [person.to_json() for person in found]}
    emit(document, _render_users(found, metric), as_json=as_json)


@users_app.command("group")
def group_users_command(
    words: Annotated[list[str], typer.Argument(metavar="NAME USER...", help="The group, then the users to put in it.")],
    none: Annotated[bool, typer.Option("--none", help="Remove the users from their group; give no NAME.")] = False,
    store: _Store = DEFAULT_STORE,
    tenant: Annotated[str, typer.Option(help="Tenant of the users.")] = DEFAULT_TENANT,
    as_json: _Json = False,
) -> None:
    """Put users in a group; a user is in at most one.

    A running gateway applies it from the next request on.

    copydesk users group sales ann bob

    copydesk users group --none ann
    """
    name, members = (None, words) if none else (words[0], words[1:])
    if not members:
        raise InputError(f"users group {name}: name the users too, for example: copydesk users group {name} ann bob")
    opened = EditStore.open(store, create=False)
    try:
        with opened.begin_write() as tx:
            changed = assign_group(tx, name, members, tenant, at=time.time())
    finally:
        opened.close()
    where = "in no group" if name is None else f"in {name}"
    line = f"{', '.join(changed)}: {where} now." if changed else f"They were {where} already."
    emit({"group": name, "tenant": tenant, "users": members, "changed": changed}, Text(line), as_json=as_json)


def _render_users(found: list[StoredUser], metric: str) -> RenderableType:
    if not found:
        return Text("No user is named in this store; requests name theirs in the field `user`.")
    table = Table("user", "group", "answers", "edits", "pending", "mean cost", "last seen", "policies for them")
    tenants = {person.tenant for person in found} != {DEFAULT_TENANT}
    for person in found:
        table.add_row(
            f"{person.user} ({person.tenant})" if tenants else person.user,
            person.group or "",
            str(person.completions),
            str(person.edits),
            str(person.pending),
            "" if person.mean_cost is None else f"{person.mean_cost:.3f}",
            _format_day(person.last_seen),
            ", ".join(person.arms),
        )
    notes = [Text(f"Costs are {metric}.")] if metric else []
    if otherwise := sum(person.otherwise for person in found):
        notes.append(Text(f"{otherwise} edits have costs of another metric and are not in the means."))
    return Group(table, *notes)


def _format_day(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M")
