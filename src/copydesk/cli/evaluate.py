"""`copydesk evaluate`: estimates what a policy would have cost on logged traffic."""

import contextlib
import sys
from typing import Annotated

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from copydesk.cli._options import options_from_config
from copydesk.cli._shared import emit, no_rows_error
from copydesk.offpolicy.estimators import Estimate
from copydesk.offpolicy.evaluate import Evaluation, EvaluationConfig, evaluate
from copydesk.offpolicy.traffic import read_traffic
from copydesk.store import DEFAULT_STORE, EditStore
from copydesk.utils.times import parse_since

_ESTIMATOR_LABELS = {"ips": "IPS", "snips": "SNIPS", "dr": "doubly robust"}


@options_from_config()
def evaluate_command(
    *,
    policy: Annotated[
        str,
        typer.Option(
            help="Policy to evaluate: one that answered in this log, a mixture (sft=0.5,dpo=0.5), a model or a "
            "policy's folder."
        ),
    ],
    store: Annotated[str, typer.Option(help="Store of the gateway, a file or a URL.")] = DEFAULT_STORE,
    user: Annotated[str | None, typer.Option(help="Only answers to this user.", show_default="all")] = None,
    group: Annotated[
        str | None, typer.Option(help="Only answers to users who are in this group now.", show_default="all")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only answers to this tenant.", show_default="all")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only answers since this date or time, or of the last 7d or 12h.", show_default="all"),
    ] = None,
    config: EvaluationConfig,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Estimate what a policy would have cost on logged traffic, without serving it.

    Estimators are IPS, self-normalised IPS (SNIPS) and doubly robust, each with a
    95% interval. If the policy answered in the log, weights come from the logged
    probability of choosing it; otherwise from the probabilities of the logged texts
    under it and under the policy that wrote them. Exits with 2 and without a figure
    when the log overlaps too little with the policy.

    copydesk evaluate --policy policies/early-2 --store copydesk.db
    """
    moment = None if since is None else parse_since(since)
    opened = EditStore.open(store, create=False)
    try:
        with opened.begin_read() as connection:
            traffic = read_traffic(connection, tenant=tenant, user=user, group=group, since=moment)
            if not traffic.rows and (user is not None or group is not None):
                raise no_rows_error(connection, opened.name, user=user, group=group, tenant=tenant)
    finally:
        opened.close()
    with contextlib.redirect_stdout(sys.stderr):  # libraries print while they load a model
        evaluation = evaluate(traffic, policy, config)
    emit({"store": opened.name, **evaluation.to_json()}, _render_evaluation(evaluation), as_json=as_json)


def _render_evaluation(evaluation: Evaluation) -> RenderableType:
    costs = Table("estimator", "cost", "95% interval", "vs. logged", "95% interval", box=box.SIMPLE)
    for name, cost in evaluation.estimates.items():
        difference = evaluation.differences[name]
        costs.add_row(_ESTIMATOR_LABELS[name], *_format_estimate(cost), *_format_estimate(difference, sign="+"))
    costs.add_row("logged", *_format_estimate(evaluation.logged))
    arms = Table("logged policy", "answers", "pending", "cost", "95% interval", box=box.SIMPLE)
    for arm in evaluation.arms:
        arms.add_row(arm.policy, str(arm.rows), str(arm.pending), *_format_estimate(arm.cost))
    overlap = evaluation.overlap
    notes = [
        f"{evaluation.policy}: effective sample size {overlap.effective:.1f} of {evaluation.rows} rows; the largest "
        f"row has {overlap.largest:.1%} of the weight; weights average {overlap.mean_weight:.3f} (1 is expected).",
        f"Costs are {evaluation.metric}.",
        *(f"Left out: {count} rows ({reason})." for reason, count in evaluation.left_out.items()),
        *(remark[0].upper() + remark[1:] for remark in evaluation.remarks),
    ]
    return Group(costs, arms, *map(Text, notes))


def _format_estimate(estimate: Estimate | None, sign: str = "") -> tuple[str, str]:
    if estimate is None:
        return "n/a", ""
    value, low, high = (format(number, f"{sign}.4f") for number in (estimate.value, estimate.low, estimate.high))
    return value, f"{low} to {high}"
