"""`copydesk ensemble`: verify the late ensemble of a store."""

from math import isfinite
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from copydesk.cli._shared import emit
from copydesk.client import Client
from copydesk.ensemble import verify_log
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.events import read_events, read_forget_events

ensemble_app = typer.Typer(help="Verify the late ensemble of a store.", no_args_is_help=True)


@ensemble_app.command("verify")
def verify_command(
    store: Annotated[str, typer.Option(help="Store: an SQLite file or a database URL.")] = DEFAULT_STORE,
    url: Annotated[
        str | None, typer.Option(help="Also compare with the gateway running at this URL.", show_default="only the log")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="API key, if the gateway requires one.", envvar="COPYDESK_API_KEY", show_envvar=True),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Replay the log: repeat every choice and recompute every sum.

    Exits with 2 if a choice, its propensity or a sum differs from the log.

    copydesk ensemble verify --store copydesk.db --url http://127.0.0.1:8040
    """
    live: dict[str, Any] | None = None
    if url is not None:
        with Client(url, key) as client:
            live = client.get_ensemble()
    opened = EditStore.open(store, create=False)
    with opened.begin_read() as connection:
        until = None if live is None else live["seq"]
        done = verify_log(read_events(connection, until=until), read_forget_events(connection))
    opened.close()
    errors = done.errors + ([] if live is None else compare_with_gateway(done.ledger, live))
    if errors:
        raise InputError(f"{opened.name}: {errors[0]}" + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""))
    states = done.ledger.ensemble.arms if done.ledger.started else {}
    table = Table("arm", "pulls", "pending", "mean cost")
    for name, state in states.items():
        mean = "" if state.mean is None else f"{state.mean:.4f}"
        table.add_row(name, f"{state.pulls:g}", f"{state.pending:g}", mean)
    same = "" if live is None else " The gateway agrees with the log."
    unverifiable = (
        f" {done.unverifiable} choices cannot be repeated: they used edits of users forgotten since."
        if done.unverifiable
        else ""
    )
    summary = Text(f"{done.events} events, {done.choices} choices: all agree with the log.{unverifiable}{same}")
    document = {
        "events": done.events,
        "choices": done.choices,
        "lost": done.unverifiable,
        "faults": [],
        "live": live is not None,
    }
    emit(document, Group(summary, table), as_json=as_json)


def compare_with_gateway(ledger: Ledger, live: dict[str, Any]) -> list[str]:
    """The differences, bit by bit, between the ensemble of a running gateway and the one rebuilt from the log.

    The gateway does not show arms that are for users of another tenant than the key's.
    """
    states = ledger.ensemble.arms if ledger.started else {}
    shown = {arm["name"]: arm for arm in live["arms"]}
    states = {name: state for name, state in states.items() if name in shown or name not in ledger.audiences}
    if sorted(shown) != sorted(states):
        return [f"the gateway offers {', '.join(sorted(shown))}, the log {', '.join(sorted(states))}"]
    fields = {"observed": "n", "pending": "pending", "cost_sum": "cost_sum", "cost_sq_sum": "cost_sq_sum"}
    return [
        f"arm {name}: {field} is {shown[name][field]} in the gateway and {getattr(state, own)} in the log"
        for name, state in states.items()
        for field, own in fields.items()
        if shown[name][field] != _to_json_number(getattr(state, own))
    ]


def _to_json_number(value: float) -> float | None:
    """A number as the gateway shows it: JSON has no infinity."""
    return value if isfinite(value) else None
