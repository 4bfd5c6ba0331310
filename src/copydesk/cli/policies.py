"""`copydesk policies`: the arms of a running gateway."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from copydesk.cli._shared import emit, parse_name_and_spec, resolve_spec
from copydesk.client import Client
from copydesk.errors import InputError
from copydesk.store.api_keys import DEFAULT_TENANT

policies_app = typer.Typer(help="Add, list and retire the policies of a running gateway.", no_args_is_help=True)

DEFAULT_URL = "http://127.0.0.1:8040"

_Url = Annotated[str, typer.Option(help="Where the gateway is.")]
_Key = Annotated[
    str | None, typer.Option(help="An API key, where one is needed.", envvar="COPYDESK_API_KEY", show_envvar=True)
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@policies_app.command("add")
def add_policy_command(
    policy: Annotated[str, typer.Argument(help="NAME=SPEC, as for `copydesk serve --policy`.")],
    user: Annotated[
        str | None, typer.Option("--for", help="The one user it is for.", show_default="for everyone")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--for-group", help="The group it is for.", show_default="for everyone")
    ] = None,
    url: _Url = DEFAULT_URL,
    key: _Key = None,
    as_json: _Json = False,
) -> None:
    """Open a policy in the gateway, and let the ensemble choose it from now on.

    A relative path is taken from where this command runs; the gateway must see it
    under the same absolute path. With --for or --for-group it is offered only to
    requests of that user, or of users in that group: nobody else is answered by
    it, not even who asks for it by name.

    copydesk policies add early-2=policies/early-2

    copydesk policies add ann-1=policies/ann-1 --for ann
    """
    if user is not None and group is not None:
        raise InputError(f"--for {user} and --for-group {group}: a policy is for one user or for one group; give one")
    name, spec = parse_name_and_spec(policy)
    with Client(url, key) as client:
        done = client.add_policy(name, resolve_spec(spec), user=user, group=group)
    emit(done, Text(f"{name} is an arm now." if done["added"] else f"{name} is an arm already."), as_json=as_json)


@policies_app.command("retire")
def retire_policy_command(
    name: Annotated[str, typer.Argument(help="The policy's name.")],
    url: _Url = DEFAULT_URL,
    key: _Key = None,
    as_json: _Json = False,
) -> None:
    """Let the ensemble choose a policy no more; its edits stay."""
    with Client(url, key) as client:
        done = client.retire_policy(name)
    emit(done, Text(f"{name} is retired."), as_json=as_json)


@policies_app.command("list")
def list_policies_command(
    user: Annotated[
        str | None, typer.Option(help="Only what this user is offered, and what it costs them.", show_default="all")
    ] = None,
    url: _Url = DEFAULT_URL,
    key: _Key = None,
    as_json: _Json = False,
) -> None:
    """List the arms, whom they are for, and what they stand at."""
    with Client(url, key) as client:
        found = client.get_ensemble(user)
    table = Table("policy", "for", "status", "pulls", "pending", "mean cost")
    for arm in found["arms"]:
        pulls, pending = f"{arm['pulls']:g}", f"{arm['pending']:g}"
        table.add_row(
            arm["name"], _format_audience(arm["audience"]), arm["status"], pulls, pending, _format_mean_cost(arm)
        )
    emit(found, table, as_json=as_json)


def _format_audience(audience: dict[str, str] | None) -> str:
    if audience is None:
        return "everyone"
    if not audience:
        return "nobody"  # it was for a person who was forgotten
    name = f"group {audience['group']}" if "group" in audience else audience["user"]
    return name if audience["tenant"] == DEFAULT_TENANT else f"{name} ({audience['tenant']})"


def _format_mean_cost(arm: dict[str, Any]) -> str:
    if arm["mean_cost"] is None:
        return ""
    return f"{arm['mean_cost']:.3f}" + ("" if arm["low"] is None else f" ± {arm['mean_cost'] - arm['low']:.3f}")
