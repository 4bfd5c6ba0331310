"""`copydesk evaluate`: what a policy would have cost on logged traffic."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from copydesk.cli._shared import emit, no_rows_error, parse_since
from copydesk.errors import InputError
from copydesk.offpolicy.estimators import Estimate
from copydesk.offpolicy.evaluate import Evaluation
from copydesk.offpolicy.evaluate import evaluate as estimate
from copydesk.offpolicy.traffic import read_traffic
from copydesk.store import DEFAULT_STORE, EditStore

_ESTIMATOR_LABELS = {"ips": "IPS", "snips": "SNIPS", "dr": "doubly robust"}


def evaluate_command(
    policy: Annotated[
        str,
        typer.Option(help="A policy that answered in this log, a mixture (sft=0.5,dpo=0.5), a model or a folder."),
    ],
    store: Annotated[str, typer.Option(help="The gateway's store.")] = DEFAULT_STORE,
    cost_model: Annotated[
        Path | None,
        typer.Option(help="A cost model's folder, for doubly robust.", show_default="a regression on the contexts"),
    ] = None,
    samples: Annotated[int, typer.Option(help="With --cost-model: answers to write to each context.")] = 4,
    seed: Annotated[int, typer.Option(help="Decides what is random.")] = 0,
    user: Annotated[str | None, typer.Option(help="Only answers to this user.", show_default="all")] = None,
    group: Annotated[
        str | None, typer.Option(help="Only answers to users who are in this group now.", show_default="all")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only answers to this tenant.", show_default="all")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only answers since this date or time, or 7d, 12h.", show_default="all")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Answers in one forward pass.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Estimate what a policy would have cost on logged traffic, without serving it.

    By IPS, self-normalised IPS (SNIPS) and doubly robust, each with a 95%
    interval. Where the policy answered in the log, the logged probability of that
    choice is the weight; else the probabilities of the logged texts are, under it
    and under who wrote them. Exits with 2 and without a figure when the log says
    too little of the policy.

    copydesk evaluate --policy policies/early-2 --store copydesk.db
    """
    if batch_size < 1:
        raise InputError(f"--batch-size {batch_size}: must be at least 1")
    moment = None if since is None else parse_since(since)
    opened = EditStore.open(store, create=False)
    try:
        with opened.begin_read() as connection:
            traffic = read_traffic(connection, tenant=tenant, user=user, group=group, since=moment)
            if not traffic.rows and (user is not None or group is not None):
                raise no_rows_error(connection, opened.name, user=user, group=group, tenant=tenant)
    finally:
        opened.close()
    with contextlib.redirect_stdout(sys.stderr):  # what a library prints while it loads a model
        found = estimate(traffic, policy, cost_model=cost_model, samples=samples, seed=seed, batch_size=batch_size)
    emit({"store": opened.name, **found.to_json()}, _render_evaluation(found), as_json=as_json)


def _render_evaluation(found: Evaluation) -> RenderableType:
    costs = Table("estimator", "cost", "95% interval", "less logged", "95% interval", box=box.SIMPLE)
    for name, cost in found.estimates.items():
        costs.add_row(
            _ESTIMATOR_LABELS[name], *_format_estimate(cost), *_format_estimate(found.differences[name], sign="+")
        )
    costs.add_row("logged", *_format_estimate(found.logged))
    arms = Table("logged policy", "answers", "pending", "cost", "95% interval", box=box.SIMPLE)
    for arm in found.arms:
        arms.add_row(arm.policy, str(arm.rows), str(arm.pending), *_format_estimate(arm.cost))
    overlap = found.overlap
    said = [
        f"{found.policy}: effective sample size {overlap.effective:.1f} of {found.rows} rows; the largest has "
        f"{overlap.largest:.1%} of the weight; weights average {overlap.mean_weight:.3f} (1 but for chance).",
        f"Costs are {found.metric}.",
        *(f"Left out: {count} rows ({why})." for why, count in found.left_out.items()),
        *(remark[0].upper() + remark[1:] for remark in found.remarks),
    ]
    return Group(costs, arms, *map(Text, said))


def _format_estimate(estimate: Estimate | None, sign: str = "") -> tuple[str, str]:
    if estimate is None:
        return "n/a", ""
    value, low, high = (format(number, f"{sign}.4f") for number in (estimate.value, estimate.low, estimate.high))
    return value, f"{low} to {high}"
