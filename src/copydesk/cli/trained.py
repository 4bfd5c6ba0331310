"""What `copydesk train` says of the policies it has made."""

import logging
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table

from copydesk.errors import InputError
from copydesk.report.calibration import CALIBRATION_FILE, plot_calibration
from copydesk.utils.atomic import atomic_write

if TYPE_CHECKING:
    from copydesk.training.policy_file import CostModelRef
    from copydesk.training.train import TrainReport

logger = logging.getLogger(__name__)

# What the table shows, in its order: a figure on the held-out rows, and what to call it.
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
    """A report for people."""
    policy = report.policy
    data = policy.data
    trained = f"{policy.name}: {policy.method} on {data.rows - data.held_out} rows, {data.edited} of {data.rows} edited"
    if data.pending:
        trained += f", {data.pending} pending left out"
    if data.left_out:
        trained += f", {data.left_out} too long left out"
    table = Table(box=box.SIMPLE, title=f"On {data.held_out} held-out rows", title_justify="left")
    table.add_column("")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    for figure, name in _METRIC_LABELS.items():
        if figure in policy.after:
            table.add_row(name, f"{policy.before[figure]:.4f}", f"{policy.after[figure]:.4f}")
    measured = table if policy.after else "No rows were held out, so nothing was measured."
    costs = (
        [_render_cost_model_table(policy.cost_model, policy.data.held_out)]
        if policy.cost_model and policy.after
        else []
    )
    remarks = [f"Note: {remark}" for remark in policy.remarks]
    return Group(
        trained, measured, *costs, *remarks, f"Policy: {report.folder}", f"Load it: {_render_load_hint(report)}"
    )


def _render_load_hint(report: "TrainReport") -> str:
    folder = str(report.folder)
    if report.policy.settings["full"]:
        return f"transformers.AutoModelForCausalLM.from_pretrained({folder!r})"
    if report.policy.base.kind == "gguf":  # PEFT itself does not read the base from a GGUF file
        return f"copydesk.models.load.load_model({folder!r})"
    return f"peft.AutoPeftModelForCausalLM.from_pretrained({folder!r})"


def draw_calibration(report: "TrainReport") -> None:
    """Draw how well a policy's cost model is calibrated, into its folder; said and left out without matplotlib."""
    from copydesk.training.cost_model.io import read_cost_model

    if report.policy.cost_model is None:
        return
    folder = report.folder / report.policy.cost_model.folder
    bins = read_cost_model(folder).calibration
    if not bins:
        return
    try:
        plot = plot_calibration(bins)
    except InputError as fault:
        logger.info("no calibration plot: %s", fault)
        return
    with atomic_write(folder / CALIBRATION_FILE) as file:
        file.write(plot)


def _render_cost_model_table(model: "CostModelRef", rows: int) -> Table:
    """The cost model on rows it has not seen, beside the predictor that always says the mean."""
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
