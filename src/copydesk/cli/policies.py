"""`copydesk policies`: the arms of a running gateway."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from copydesk.cli.given import absolute, name_and_spec
from copydesk.cli.output import emit
from copydesk.client import Client

policies = typer.Typer(help="Add, list and retire the policies of a running gateway.", no_args_is_help=True)

URL = "http://127.0.0.1:8040"

_Url = Annotated[str, typer.Option(help="Where the gateway is.")]
_Key = Annotated[
    str | None, typer.Option(help="An API key, where one is needed.", envvar="COPYDESK_API_KEY", show_envvar=True)
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@policies.command("add")
def add(
    policy: Annotated[str, typer.Argument(help="NAME=SPEC, as for `copydesk serve --policy`.")],
    url: _Url = URL,
    key: _Key = None,
    as_json: _Json = False,
) -> None:
    """Open a policy in the gateway, and let the ensemble choose it from now on.

    A relative path is taken from where this command runs; the gateway must see it
    under the same absolute path.

    copydesk policies add early-2=policies/early-2
    """
    name, spec = name_and_spec(policy)
    with Client(url, key) as client:
        done = client.add_policy(name, absolute(spec))
    emit(done, Text(f"{name} is an arm now." if done["added"] else f"{name} is an arm already."), as_json=as_json)


@policies.command("retire")
def retire(
    name: Annotated[str, typer.Argument(help="The policy's name.")],
    url: _Url = URL,
    key: _Key = None,
    as_json: _Json = False,
) -> None:
    """Let the ensemble choose a policy no more; its edits stay."""
    with Client(url, key) as client:
        done = client.retire_policy(name)
    emit(done, Text(f"{name} is retired."), as_json=as_json)


@policies.command("list")
def list_(url: _Url = URL, key: _Key = None, as_json: _Json = False) -> None:
    """List the arms and what they stand at."""
    with Client(url, key) as client:
        found = client.ensemble()
    table = Table("policy", "status", "pulls", "pending", "mean cost")
    for arm in found["arms"]:
        table.add_row(arm["name"], arm["status"], f"{arm['pulls']:g}", f"{arm['pending']:g}", _cost(arm))
    emit(found, table, as_json=as_json)


def _cost(arm: dict[str, Any]) -> str:
    if arm["mean_cost"] is None:
        return ""
    return f"{arm['mean_cost']:.3f}" + ("" if arm["low"] is None else f" ± {arm['mean_cost'] - arm['low']:.3f}")
