"""`copydesk train`: train policies on a log of edits and report what was measured."""

import contextlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich import box
from rich.console import Group
from rich.table import Table

from copydesk.cli._options import options_from_config
from copydesk.cli._shared import emit, load_records, log_to_stderr
from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.report.plots import CALIBRATION_FILE, plot_calibration
from copydesk.training.config import TrainConfig
from copydesk.utils.atomic import atomic_write

if TYPE_CHECKING:
    from copydesk.training.policy_file import CostModelRef
    from copydesk.training.train import TrainReport

logger = logging.getLogger(__name__)

# The rows of the table: a metric on the held-out rows and its label.
_METRIC_LABELS = {
    "loss": "objective (loss)",
    "loss/supervised": "supervised term",
    "loss/preference": "preference term",
    "loss/cost": "cost term",
    "logp/edit": "log-probability of the edit",
    "logp_per_token/edit": "... per token",
    "logp/response": "log-probability of the response",
    "margin": "margin",
    "kl": "KL from the reference, estimated",
    "accuracy": "edit preferred to response",
    "cost/fit": "own responses: predicted cost",
    "cost/pessimistic": "... pessimistic",
    "kl/own": "... log-ratio to the reference",
}


def train_report_to_json(report: "TrainReport") -> dict[str, Any]:
    """A report as JSON values."""
    return {"folder": str(report.folder), "seconds": round(report.seconds, 3), **report.policy.model_dump(mode="json")}


def render_train_report(report: "TrainReport") -> Group:
    """A report for the terminal."""
    policy = report.policy
    data = policy.data
    summary = f"{policy.name}: {policy.method} on {data.rows - data.held_out} rows, {data.edited} of {data.rows} edited"
    if data.pending:
        summary += f", {data.pending} pending left out"
    if data.left_out:
        summary += f", {data.left_out} too long left out"
    table = Table(box=box.SIMPLE, title=f"On {data.held_out} held-out rows", title_justify="left")
    table.add_column("")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    for metric, label in _METRIC_LABELS.items():
        if metric in policy.after:
            table.add_row(label, f"{policy.before[metric]:.4f}", f"{policy.after[metric]:.4f}")
    measured = table if policy.after else "No rows were held out, so nothing was measured."
    costs = (
        [_render_cost_model_table(policy.cost_model, policy.data.held_out)]
        if policy.cost_model and policy.after
        else []
    )
    remarks = [f"Note: {remark}" for remark in policy.remarks]
    return Group(
        summary, measured, *costs, *remarks, f"Policy: {report.folder}", f"Load it: {_render_load_hint(report)}"
    )


def _render_load_hint(report: "TrainReport") -> str:
    folder = str(report.folder)
    if report.policy.settings["full"]:
        return f"transformers.AutoModelForCausalLM.from_pretrained({folder!r})"
    if report.policy.base.kind == "gguf":  # PEFT itself does not read the base from a GGUF file
        return f"copydesk.models.load.load_model({folder!r})"
    return f"peft.AutoPeftModelForCausalLM.from_pretrained({folder!r})"


def draw_calibration(report: "TrainReport") -> None:
    """Plot the calibration of a policy's cost model into its folder; skipped with a log message without matplotlib."""
    from copydesk.training.cost_model.io import read_cost_model

    if report.policy.cost_model is None:
        return
    folder = report.folder / report.policy.cost_model.folder
    bins = read_cost_model(folder).calibration
    if not bins:
        return
    try:
        plot = plot_calibration(bins)
    except InputError as exc:
        logger.info("no calibration plot: %s", exc)
        return
    with atomic_write(folder / CALIBRATION_FILE) as file:
        file.write(plot)


def _render_cost_model_table(model: "CostModelRef", rows: int) -> Table:
    """The cost model on held-out rows, compared with the constant prediction of the mean."""
    table = Table(box=box.SIMPLE, title=f"Cost model on the same {rows} rows ({model.metric})", title_justify="left")
    for name in ("", "R²", "rank correlation", "mean absolute error", "bias"):
        table.add_column(name, justify="right" if name else "left")

    def row(label: str, figures: dict[str, float], *names: str) -> None:
        table.add_row(label, *(f"{figures[name]:.4f}" if name in figures else "-" for name in names))

    names = ("r2", "rank_correlation", "mae", "bias")
    row("fit", model.fit, *names)
    row("pessimistic", model.pessimistic, *names)
    row("always the mean", {**model.fit, "r2": 0.0}, "r2", "", "mae_mean", "")
    return table


# `all` and the methods; typer reads the choices from the type.
MethodChoice: Any = Literal[(*METHODS, "all")]
_DEFAULT_METHOD = TrainConfig().method


@options_from_config(exclude=["method"])
def train_command(
    *,
    model: Annotated[
        str, typer.Option(help="Model to train: a hub id, a folder, a .gguf file, 'embedded' or 'smollm2'.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder to write the policy to; with --method all, the folder of all policies.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="Log of edits: JSON Lines with context, response and edit.", show_default=False)
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Store of a gateway to read the log from: a file or a database URL.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Earliest time of an edit (--store): a date, a time or an age such as 7d.", show_default="all edits"
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Only the edits of this user (--store).", show_default="all users")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Only the edits of this group (--store).", show_default="all users")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Only the edits of this tenant (--store).", show_default="all tenants")
    ] = None,
    method: Annotated[
        MethodChoice,
        typer.Option(help="Training method; all trains one policy with each of them."),
    ] = _DEFAULT_METHOD,
    settings: TrainConfig,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was interrupted.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a policy of that name, or restart an unfinished run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Train a policy on a log of edits.

    Trains an adapter (or, with --full, all weights) of any causal language model,
    and writes an ordinary PEFT or Transformers folder with a policy.json that
    records how it was made. Some rows are held out, and the policy is measured on
    them before and after. A run can be interrupted at any time: the same command
    with --resume continues it.

    copydesk train --data log.jsonl --model Qwen/Qwen3-0.6B --method early --out policies/early-1

    copydesk train --store copydesk.db --since 7d --model Qwen/Qwen3-0.6B --out policies/early-2

    With --method all every policy is made from one tokenisation and one
    reference pass, each in a folder of its own in --out. With rl a model of
    the edit cost is fitted first, and the policy is then trained to write what
    that model, taken pessimistically, predicts to be cheap.
    """
    every = method == "all"
    settings = settings if every else settings.replace(method=method)
    records, source = load_records(data, store, since, user, tenant, group)
    try:
        from copydesk.models.load import quiet_libraries
        from copydesk.training.distributed import is_main_process
        from copydesk.training.prepare import check_log
        from copydesk.training.train import train as learn
        from copydesk.training.train import train_all
    except ModuleNotFoundError as exc:
        raise InputError(f"training needs {exc.name}; install it with: pip install 'copydesk[train]'") from None
    check_log(records, source)
    if is_main_process():
        log_to_stderr("copydesk")
    quiet_libraries()
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result, even if a library prints
        if every:
            reports = train_all(records, model, settings, out, overwrite=force, resume=resume)
        else:
            reports = [learn(records, model, settings, out, overwrite=force, resume=resume)]
    if is_main_process():
        for report in reports:
            draw_calibration(report)
        documents = [train_report_to_json(report) for report in reports]
        emit(
            {"policies": documents} if every else documents[0],
            Group(*map(render_train_report, reports)),
            as_json=as_json,
        )
