"""`copydesk keys`: create, list and revoke API keys of a gateway."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from copydesk.cli._shared import emit
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.api_keys import API_KEY_SCOPES, DEFAULT_TENANT, create_key, list_keys, revoke_key

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
            help=f"Permission: {', '.join(API_KEY_SCOPES)}. Repeat for several.", show_default="all but admin"
        ),
    ] = None,
    store: _Store = DEFAULT_STORE,
    as_json: _Json = False,
) -> None:
    """Create a key and print it once; the store keeps only a hash.

    Once a key exists, the gateway refuses requests without one.

    copydesk keys create --name assistant --scope complete --scope edit
    """
    opened = EditStore.open(store)
    with opened.begin_write() as tx:
        chosen = scope or [one for one in API_KEY_SCOPES if one != "admin"]
        key, text = create_key(tx.connection, name, tenant=tenant, scopes=chosen)
    opened.close()
    document = {"id": key.id, "name": key.name, "tenant": key.tenant, "scopes": list(key.scopes), "key": text}
    scopes = ", ".join(key.scopes)
    shown = Text(f"{text}\n\nIt is not shown again. Id {key.id}, tenant {key.tenant}, scopes {scopes}.")
    emit(document, shown, as_json=as_json)


@keys_app.command("revoke")
def revoke_key_command(
    key: Annotated[str, typer.Argument(help="Id of the key, or the key itself.")],
    store: _Store = DEFAULT_STORE,
    as_json: _Json = False,
) -> None:
    """Revoke a key; a running gateway refuses it within five seconds."""
    opened = EditStore.open(store, create=False)
    with opened.begin_write() as tx:
        revoked = revoke_key(tx.connection, key)
    opened.close()
    emit(
        {"id": revoked.id, "name": revoked.name, "revoked": True}, Text(f"{revoked.name} is revoked."), as_json=as_json
    )


@keys_app.command("list")
def list_keys_command(store: _Store = DEFAULT_STORE, as_json: _Json = False) -> None:
    """List the keys, without their secrets."""
    opened = EditStore.open(store, create=False)
    with opened.begin_read() as connection:
        found = list_keys(connection)
    opened.close()
    table = Table("id", "name", "tenant", "scopes", "created", "revoked")
    for key in found:
        table.add_row(
            key.id,
            key.name,
            key.tenant,
            ", ".join(key.scopes),
            _format_day(key.created_at),
            _format_day(key.revoked_at),
        )
    document = {
        "keys": [
            {
                "id": key.id,
                "name": key.name,
                "tenant": key.tenant,
                "scopes": list(key.scopes),
                "created_at": _format_iso(key.created_at),
                "revoked_at": _format_iso(key.revoked_at),
            }
            for key in found
        ]
    }
    emit(
        document,
        Group(table) if found else Text("There is no key: the gateway accepts all requests from this machine."),
        as_json=as_json,
    )


def _format_iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _format_day(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
