"""`copydesk policies`: add, list and retire policies of a running gateway."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from copydesk.cli._shared import emit, parse_policy_arg, resolve_spec
from copydesk.client import Client
from copydesk.errors import InputError
from copydesk.store.api_keys import DEFAULT_TENANT

policies_app = typer.Typer(help="Add, list and retire the policies of a running gateway.", no_args_is_help=True)

DEFAULT_URL = "http://127.0.0.1:8040"

_Url = Annotated[str, typer.Option(help="URL of the gateway.")]
_Key = Annotated[
    str | None, typer.Option(help="API key, if the gateway requires one.", envvar="COPYDESK_API_KEY", show_envvar=True)
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@policies_app.command("add")
def add_policy_command(
    policy: Annotated[
        str, typer.Argument(help="Policy to add, as NAME=SPEC; see `copydesk serve --policy` and `--upstream`.")
    ],
    user: Annotated[
        str | None, typer.Option("--for", help="Offer the policy only to this user.", show_default="for everyone")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--for-group", help="Offer the policy only to users of this group.", show_default="for everyone"),
    ] = None,
    url: _Url = DEFAULT_URL,
    key: _Key = None,
    as_json: _Json = False,
) -> None:
    """Add a policy to the gateway; the ensemble can choose it from now on.

    A relative path is resolved in the current folder; the gateway must see it
    under the same absolute path. With --for or --for-group only requests of that
    user, or of users in that group, are answered by the policy; other users cannot
    request it by name either.

    copydesk policies add early-2=policies/early-2

    copydesk policies add ann-1=policies/ann-1 --for ann
    """
    if user is not None and group is not None:
        raise InputError(f"--for {user} and --for-group {group}: a policy is for one user or for one group; give one")
    name, spec = parse_policy_arg("policies add", policy)
    with Client(url, key) as client:
        done = client.add_policy(name, resolve_spec(spec), user=user, group=group)
    emit(done, Text(f"{name} is an arm now." if done["added"] else f"{name} is already an arm."), as_json=as_json)


@policies_app.command("retire")
def retire_policy_command(
    name: Annotated[str, typer.Argument(help="Name of the policy.")],
    url: _Url = DEFAULT_URL,
    key: _Key = None,
    as_json: _Json = False,
) -> None:
    """Stop the ensemble from choosing a policy; its edits and statistics stay."""
    with Client(url, key) as client:
        done = client.retire_policy(name)
    emit(done, Text(f"{name} is retired."), as_json=as_json)


@policies_app.command("list")
def list_policies_command(
    user: Annotated[
        str | None,
        typer.Option(
            help="List only the policies offered to this user, with this user's statistics.", show_default="all"
        ),
    ] = None,
    url: _Url = DEFAULT_URL,
    key: _Key = None,
    as_json: _Json = False,
) -> None:
    """List the arms with their audience, status, pulls and mean cost."""
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
    if "group" not in audience and "user" not in audience:
        return "nobody"  # it was for a user who was forgotten
    name = f"group {audience['group']}" if "group" in audience else audience["user"]
    return name if audience["tenant"] == DEFAULT_TENANT else f"{name} ({audience['tenant']})"


def _format_mean_cost(arm: dict[str, Any]) -> str:
    if arm["mean_cost"] is None:
        return ""
    return f"{arm['mean_cost']:.3f}" + ("" if arm["low"] is None else f" ± {arm['mean_cost'] - arm['low']:.3f}")
