"""`copydesk ensemble`: the late ensemble of a store."""

from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from copydesk.cli._shared import emit
from copydesk.client import Client
from copydesk.ensemble import verify_log as check
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.store.events import read_events, read_forget_events

ensemble_app = typer.Typer(help="Check the late ensemble of a store.", no_args_is_help=True)


@ensemble_app.command("verify")
def verify_command(
    store: Annotated[str, typer.Option(help="The gateway's store.")] = DEFAULT_STORE,
    url: Annotated[
        str | None, typer.Option(help="Also compare with the gateway that runs there.", show_default="only the log")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="An API key, where one is needed.", envvar="COPYDESK_API_KEY", show_envvar=True)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Make every choice of the log again, and add up every number.

    Exits with 2 where a choice, its propensity or a sum is not what the log says.

    copydesk ensemble verify --store copydesk.db --url http://127.0.0.1:8040
    """
    live: dict[str, Any] | None = None
    if url is not None:
        with Client(url, key) as client:
            live = client.get_ensemble()
    opened = EditStore.open(store, create=False)
    with opened.begin_read() as connection:
        until = None if live is None else live["seq"]
        done = check(read_events(connection, until=until), read_forget_events(connection))
    opened.close()
    faults = done.errors + ([] if live is None else compare_with_gateway(done.ledger, live))
    if faults:
        raise InputError(f"{opened.name}: {faults[0]}" + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""))
    states = done.ledger.ensemble.arms if done.ledger.started else {}
    table = Table("arm", "pulls", "pending", "mean cost")
    for name, state in states.items():
        mean = "" if state.mean is None else f"{state.mean:.4f}"
        table.add_row(name, f"{state.pulls:g}", f"{state.pending:g}", mean)
    same = "" if live is None else " The gateway stands where the log says."
    lost = (
        f" {done.unverifiable} choices cannot be made again: they were made on edits of people forgotten."
        if done.unverifiable
        else ""
    )
    said = Text(f"{done.events} events, {done.choices} choices: all as the log says.{lost}{same}")
    document = {
        "events": done.events,
        "choices": done.choices,
        "lost": done.unverifiable,
        "faults": [],
        "live": live is not None,
    }
    emit(document, Group(said, table), as_json=as_json)


def compare_with_gateway(ledger: Ledger, live: dict[str, Any]) -> list[str]:
    """Where a running gateway's ensemble is not what the log makes of it, to the last bit."""
    states = ledger.ensemble.arms if ledger.started else {}
    shown = {arm["name"]: arm for arm in live["arms"]}
    if sorted(shown) != sorted(states):
        return [f"the gateway offers {', '.join(sorted(shown))}, the log {', '.join(sorted(states))}"]
    fields = {"observed": "n", "pending": "pending", "cost_sum": "cost_sum", "cost_sq_sum": "cost_sq_sum"}
    return [
        f"arm {name}: {field} is {shown[name][field]} in the gateway and {getattr(state, own)} in the log"
        for name, state in states.items()
        for field, own in fields.items()
        if shown[name][field] != getattr(state, own)
    ]
