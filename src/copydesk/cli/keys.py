"""`copydesk keys`: create, list and revoke API keys of a gateway."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from copydesk.cli._shared import emit
from copydesk.errors import InputError
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.api_keys import (
    API_KEY_SCOPES,
    DEFAULT_API_KEY_SCOPES,
    DEFAULT_TENANT,
    ApiKey,
    create_key,
    list_keys,
    revoke_key,
)

keys_app = typer.Typer(help="Create, list and revoke API keys of a gateway.", no_args_is_help=True)

_Store = Annotated[str, typer.Option(help="Store: an SQLite file or a database URL.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@keys_app.command("create")
def create_key_command(
    name: Annotated[str, typer.Option(help="Name of the key, such as the application that uses it.")],
    tenant: Annotated[
        str, typer.Option(help="Tenant whose data the key reads and writes; other tenants' data is invisible to it.")
    ] = DEFAULT_TENANT,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Permission: {', '.join(API_KEY_SCOPES)}. Repeat for several.",
            show_default=", ".join(DEFAULT_API_KEY_SCOPES),
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(help="The one user whose requests, answers and edits the key is for.", show_default="all users"),
    ] = None,
    answers_of: Annotated[
        str | None,
        typer.Option(
            help="Id of another key, whose answers this key edits; for a key with the scope edit and without complete.",
            show_default="none",
        ),
    ] = None,
    store: _Store = DEFAULT_STORE,
    as_json: _Json = False,
) -> None:
    """Create a key and print it once; the store keeps only a hash.

    Once a key has been created, the gateway refuses requests without one, also
    after the key is revoked. A key with the scope edit and without complete edits
    the answers of one user (--user) or of one other key (--answers-of) only.

    copydesk keys create --name assistant --scope complete

    copydesk keys create --name web-page --scope edit --answers-of 4f2a90c1d3e8
    """
    opened = EditStore.open(store)
    try:
        with opened.begin_write() as tx:
            key, text = create_key(
                tx.connection,
                name,
                tenant=tenant,
                scopes=scope or DEFAULT_API_KEY_SCOPES,
                user=user,
                answers_of=answers_of,
            )
    finally:
        opened.close()
    note = None
    if "edit" in key.scopes and "complete" not in key.scopes and user is None and answers_of is None:
        note = (
            "This key cannot edit any answer yet: without the scope complete it is given none. Create one with "
            "--answers-of KEY_ID or --user NAME instead, or with the scope complete too."
        )
    document = _describe_key(key) | {"key": text, "note": note}
    whose = f", user {key.user}" if key.user else f", answers of {key.answers_of}" if key.answers_of else ""
    summary = f"It is not shown again. Id {key.id}, tenant {key.tenant}, scopes {', '.join(key.scopes)}{whose}."
    emit(document, Text("\n\n".join(filter(None, (text, summary, note)))), as_json=as_json)


@keys_app.command("revoke")
def revoke_key_command(
    key: Annotated[str, typer.Argument(help="Id of the key, or the key itself.")],
    yes: Annotated[bool, typer.Option("--yes", help="Revoke it also if it is the last one of its kind.")] = False,
    store: _Store = DEFAULT_STORE,
    as_json: _Json = False,
) -> None:
    """Revoke a key; a running gateway refuses it within five seconds.

    Revoking the last key does not open the gateway. Keys created with --answers-of
    this key stay active and still edit the answers given to it.
    """
    opened = EditStore.open(store, create=False)
    try:
        with opened.begin_write() as tx:
            revoked = revoke_key(tx.connection, key)
            left = [other for other in list_keys(tx.connection) if other.revoked_at is None]
            if not yes and (consequence := _describe_consequence(revoked, left)):
                raise InputError(f"{revoked.id}: {consequence}; add --yes to revoke it")  # rolls back
    finally:
        opened.close()
    editing = [other.id for other in left if other.answers_of == revoked.id]
    line = f"{revoked.name} is revoked."
    if editing:
        line += f" These keys still edit the answers given to it: {', '.join(editing)}."
    emit(
        {"id": revoked.id, "name": revoked.name, "revoked": True, "still_editing": editing},
        Text(line),
        as_json=as_json,
    )


def _describe_consequence(revoked: ApiKey, left: list[ApiKey]) -> str | None:
    """What nobody can do any more once a key is revoked; `None` if other keys can do it."""
    if not left:
        return (
            "this is the last active key; without it nobody can use the gateway until a key is created on this machine "
            "(revoking it does not open the gateway)"
        )
    if "admin" not in revoked.scopes:
        return None
    admins = [key for key in left if "admin" in key.scopes]
    if not admins:
        return (
            "this is the last active key with the scope admin; without it nobody can add or retire policies over HTTP "
            "until one is created on this machine"
        )
    if all(key.tenant != revoked.tenant for key in admins):
        return (
            f"this is the last active key of tenant {revoked.tenant} with the scope admin; without it nobody can add "
            "or retire policies for the users of this tenant"
        )
    return None


@keys_app.command("list")
def list_keys_command(store: _Store = DEFAULT_STORE, as_json: _Json = False) -> None:
    """List the keys, without their secrets."""
    opened = EditStore.open(store, create=False)
    try:
        with opened.begin_read() as connection:
            found = list_keys(connection)
    finally:
        opened.close()
    table = Table("id", "name", "tenant", "scopes", "user", "answers of", "created", "revoked")
    for key in found:
        table.add_row(
            key.id,
            key.name,
            key.tenant,
            ", ".join(key.scopes),
            key.user or "",
            key.answers_of or "",
            _format_day(key.created_at),
            _format_day(key.revoked_at),
        )
    document = {
        "keys": [
            _describe_key(key) | {"created_at": _format_iso(key.created_at), "revoked_at": _format_iso(key.revoked_at)}
            for key in found
        ]
    }
    if not found:
        shown: RenderableType = Text(
            "There has never been a key: the gateway accepts all requests that are made on this machine and come "
            "through no proxy."
        )
    elif all(key.revoked_at is not None for key in found):
        shown = Group(table, Text("No key is active: the gateway refuses all requests until one is created."))
    else:
        shown = table
    emit(document, shown, as_json=as_json)


def _describe_key(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": list(key.scopes),
        "user": key.user,
        "answers_of": key.answers_of,
    }


def _format_iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _format_day(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
