"""`copydesk train`: learn a policy from a log of edits.

What `copydesk train` says of the policies it has made.
"""

import contextlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich import box
from rich.console import Group
from rich.table import Table

from copydesk.cli._shared import emit, load_records, log_to_stderr
from copydesk.data.cost import CostNormalization, CostUnit
from copydesk.errors import InputError
from copydesk.model_registry import Dtype
from copydesk.report.plots import CALIBRATION_FILE, plot_calibration
from copydesk.training.config import CostModelConfig, Pessimism, PreferenceForm, RlConfig, TrainConfig, VllmMode
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
    except InputError as exc:
        logger.info("no calibration plot: %s", exc)
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


_DEFAULTS = TrainConfig()
_COST_DEFAULTS, _RL_DEFAULTS = _DEFAULTS.cost, _DEFAULTS.rl

MethodOrAll = Literal["sft", "dpo", "rl", "early", "all"]

_COST_PANEL = "Costs (rl, and early with --lambda-cost)"
_COST_MODEL_PANEL = "Cost model (rl)"
_RL_PANEL = "Policy optimisation (rl)"


def train_command(
    model: Annotated[
        str, typer.Option(help="What to train_command: a hub id, a folder, a .gguf file, 'embedded' or 'smollm2'.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write the policy to; with 'all', the folder of all.")],
    data: Annotated[
        Path | None, typer.Option(help="The log: JSON Lines with context, response and edit.", show_default=False)
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Or the store of a gateway, a file or a URL.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="With --store: edits from then on; a date, a time or 7d.", show_default="all edits"),
    ] = None,
    user: Annotated[str | None, typer.Option(help="With --store: this user's only.", show_default="everyone's")] = None,
    group: Annotated[
        str | None, typer.Option(help="With --store: this group's only.", show_default="everyone's")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="With --store: this tenant's only.", show_default="all tenants'")
    ] = None,
    method: Annotated[
        MethodOrAll,
        typer.Option(
            help="Learn from edits as supervision, as preference, from their cost, or jointly; or every policy at once."
        ),
    ] = _DEFAULTS.method,
    epochs: Annotated[float, typer.Option(help="Passes over the log (all but rl).")] = _DEFAULTS.epochs,
    max_steps: Annotated[
        int | None, typer.Option(help="Stop after so many optimizer steps.", show_default="as --epochs says")
    ] = _DEFAULTS.max_steps,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Peak learning rate.",
            show_default="sft 2e-4, dpo and rl 5e-5, early 1e-4; --full 1e-5, 1e-6, 1e-6, 5e-6",
        ),
    ] = _DEFAULTS.learning_rate,
    warmup: Annotated[float, typer.Option(help="Share of the steps with a rising rate.")] = _DEFAULTS.warmup_ratio,
    batch_size: Annotated[
        int, typer.Option(help="Rows in one forward pass; of the policy's own responses (rl).")
    ] = _DEFAULTS.batch_size,
    accumulate: Annotated[
        int, typer.Option(help="Forward passes to one optimizer step (all but rl).")
    ] = _DEFAULTS.accumulate,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = _DEFAULTS.clip,
    beta: Annotated[float, typer.Option(help="Pull towards the reference policy (all but sft).")] = _DEFAULTS.beta,
    preference: Annotated[
        PreferenceForm, typer.Option(help="Form of the preference loss (dpo, early); sigmoid is DPO's own.")
    ] = _DEFAULTS.preference,
    label_noise: Annotated[
        float, typer.Option(help="For robust: share of edits believed to be no better.")
    ] = _DEFAULTS.label_noise,
    dpop_penalty: Annotated[
        float, typer.Option(help="For dpop: weight of edits becoming less likely.")
    ] = _DEFAULTS.dpop_penalty,
    lambda_sup: Annotated[float, typer.Option(help="Weight of the supervised term (early).")] = _DEFAULTS.lambda_sup,
    lambda_cost: Annotated[
        float, typer.Option(help="Weight of the offline cost term (early); 0 leaves it out, as the paper does.")
    ] = _DEFAULTS.lambda_cost,
    weigh: Annotated[
        str | None,
        typer.Option(
            help="Weigh rows: user (every user the same), recency:DAYS (half-life), field:NAME (of metadata).",
            show_default="all alike",
        ),
    ] = _DEFAULTS.weigh,
    full: Annotated[bool, typer.Option("--full", help="Train all weights instead of a LoRA adapter.")] = _DEFAULTS.full,
    lora_r: Annotated[int, typer.Option(help="Rank of the adapter.")] = _DEFAULTS.lora_r,
    lora_alpha: Annotated[int, typer.Option(help="The adapter is scaled by alpha / r.")] = _DEFAULTS.lora_alpha,
    lora_dropout: Annotated[float, typer.Option(help="Dropout in the adapter.")] = _DEFAULTS.lora_dropout,
    max_length: Annotated[
        int, typer.Option(help="Most tokens of context and answer; longer contexts lose their beginning.")
    ] = _DEFAULTS.max_length,
    cut_answers: Annotated[
        bool, typer.Option("--cut-answers", help="Cut answers too long for --max-length; else their rows are left out.")
    ] = _DEFAULTS.cut_answers,
    row_tokens: Annotated[
        int | None, typer.Option(help="Fill packed rows up to so many tokens.", show_default="what suits the device")
    ] = _DEFAULTS.row_tokens,
    held_out: Annotated[float, typer.Option(help="Share of the rows kept to measure with.")] = _DEFAULTS.held_out,
    seed: Annotated[int, typer.Option(help="Decides the split, the first weights and the order.")] = _DEFAULTS.seed,
    dtype: Annotated[Dtype, typer.Option(help="Of the weights; auto suits the device.")] = _DEFAULTS.dtype,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Recompute activations: less memory, more time.")
    ] = _DEFAULTS.checkpointing,
    save_every: Annotated[
        float, typer.Option(help="Keep a checkpoint every so many steps, or, below 1, this share of the run.")
    ] = _DEFAULTS.save_every,
    costs: Annotated[
        str,
        typer.Option(
            help="Where costs come from: edit (computed) or field:NAME (of metadata).", rich_help_panel=_COST_PANEL
        ),
    ] = _COST_DEFAULTS.source,
    cost_unit: Annotated[
        CostUnit, typer.Option(help="What an edit's cost counts.", rich_help_panel=_COST_PANEL)
    ] = _COST_DEFAULTS.unit,
    cost_normalize: Annotated[
        CostNormalization, typer.Option(help="Whose length it is divided by.", rich_help_panel=_COST_PANEL)
    ] = _COST_DEFAULTS.normalize,
    c_max: Annotated[
        float, typer.Option(help="The largest cost there is.", rich_help_panel=_COST_PANEL)
    ] = _COST_DEFAULTS.c_max,
    cost_model: Annotated[
        Path | None,
        typer.Option(help="Use this one, made earlier, with its settings.", rich_help_panel=_COST_MODEL_PANEL),
    ] = None,
    members: Annotated[
        int,
        typer.Option(help="Fits on bootstrap resamples, beside the one on the log.", rich_help_panel=_COST_MODEL_PANEL),
    ] = _COST_DEFAULTS.members,
    prior: Annotated[
        float,
        typer.Option(
            help="How far apart members start, in standard deviations of the costs.", rich_help_panel=_COST_MODEL_PANEL
        ),
    ] = _COST_DEFAULTS.prior,
    pessimism: Annotated[
        Pessimism,
        typer.Option(
            help="Pay the largest cost the fits agree on (max), the fit + kappa x spread (std), or the fit (none).",
            rich_help_panel=_COST_MODEL_PANEL,
        ),
    ] = _COST_DEFAULTS.pessimism,
    gamma: Annotated[
        float,
        typer.Option(
            help="For max: leave out members whose squared error on the log is higher by this share of its variance.",
            rich_help_panel=_COST_MODEL_PANEL,
        ),
    ] = _COST_DEFAULTS.gamma,
    kappa: Annotated[float, typer.Option(help="For std.", rich_help_panel=_COST_MODEL_PANEL)] = _COST_DEFAULTS.kappa,
    cost_epochs: Annotated[
        float, typer.Option(help="Passes over the log.", rich_help_panel=_COST_MODEL_PANEL)
    ] = _COST_DEFAULTS.epochs,
    cost_lr: Annotated[
        float, typer.Option(help="Peak learning rate.", rich_help_panel=_COST_MODEL_PANEL)
    ] = _COST_DEFAULTS.learning_rate,
    cost_rows_per_step: Annotated[
        int, typer.Option(help="Rows of an optimizer step.", rich_help_panel=_COST_MODEL_PANEL)
    ] = _COST_DEFAULTS.rows_per_step,
    cost_layers: Annotated[
        float, typer.Option(help="Share of the layers, from the top, with adapters.", rich_help_panel=_COST_MODEL_PANEL)
    ] = _COST_DEFAULTS.layers,
    cost_lora_r: Annotated[
        int, typer.Option(help="Rank of the adapters.", rich_help_panel=_COST_MODEL_PANEL)
    ] = _COST_DEFAULTS.lora_r,
    free_rows: Annotated[
        bool,
        typer.Option(
            "--free-rows",
            help="Learn also that an edit itself costs 0. Off: no one was asked to edit it again.",
            rich_help_panel=_COST_MODEL_PANEL,
        ),
    ] = _COST_DEFAULTS.free_rows,
    rl_epochs: Annotated[
        float, typer.Option(help="Passes over the log's contexts.", rich_help_panel=_RL_PANEL)
    ] = _RL_DEFAULTS.epochs,
    responses: Annotated[
        int, typer.Option(help="Responses of an optimizer step.", rich_help_panel=_RL_PANEL)
    ] = _RL_DEFAULTS.responses,
    generations: Annotated[
        int, typer.Option(help="Responses to each context in a step.", rich_help_panel=_RL_PANEL)
    ] = _RL_DEFAULTS.generations,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            help="Cut responses off here; one that is cut pays c_max.",
            show_default="the longest answer of the log",
            rich_help_panel=_RL_PANEL,
        ),
    ] = _RL_DEFAULTS.max_new_tokens,
    vllm: Annotated[
        VllmMode, typer.Option(help="Write responses with vLLM.", rich_help_panel=_RL_PANEL)
    ] = _RL_DEFAULTS.vllm,
    vllm_url: Annotated[
        str | None, typer.Option(help="Address of `trl vllm-serve`.", rich_help_panel=_RL_PANEL)
    ] = _RL_DEFAULTS.vllm_url,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a policy of that name; start an unfinished run over.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON train_report_to_json on stdout.")] = False,
) -> None:
    """Learn a policy from a log of edits.

    Trains an adapter (or, with --full, all weights) of any causal language model,
    and writes an ordinary PEFT or Transformers folder with a policy.json that
    says how it was made. Some rows are held out, and the policy is measured on
    them before and after. A run may be interrupted at any moment: the same
    command with --resume goes on.

    copydesk train --data log.jsonl --model Qwen/Qwen3-0.6B --method early --out policies/early-1

    copydesk train --store copydesk.db --since 7d --model Qwen/Qwen3-0.6B --out policies/early-2

    With --method all every policy is made from one tokenisation and one
    reference pass, each in a folder of its own in --out. With rl a model of
    the edit cost is fitted first, and the policy then learns to write what
    that model, taken pessimistically, finds cheap.
    """
    settings = TrainConfig(
        method=_DEFAULTS.method if method == "all" else method,
        epochs=epochs,
        max_steps=max_steps,
        learning_rate=lr,
        warmup_ratio=warmup,
        batch_size=batch_size,
        accumulate=accumulate,
        clip=clip,
        beta=beta,
        preference=preference,
        label_noise=label_noise,
        dpop_penalty=dpop_penalty,
        lambda_sup=lambda_sup,
        lambda_cost=lambda_cost,
        weigh=weigh,
        full=full,
        lora_r=lora_r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        max_length=max_length,
        cut_answers=cut_answers,
        row_tokens=row_tokens,
        held_out=held_out,
        seed=seed,
        dtype=dtype,
        checkpointing=checkpointing,
        save_every=save_every,
        cost=CostModelConfig(
            source=costs,
            unit=cost_unit,
            normalize=cost_normalize,
            c_max=c_max,
            members=members,
            prior=prior,
            epochs=cost_epochs,
            learning_rate=cost_lr,
            rows_per_step=cost_rows_per_step,
            layers=cost_layers,
            lora_r=cost_lora_r,
            free_rows=free_rows,
            pessimism=pessimism,
            gamma=gamma,
            kappa=kappa,
        ),
        rl=RlConfig(
            epochs=rl_epochs,
            responses=responses,
            generations=generations,
            max_new_tokens=max_new_tokens,
            cost_model=None if cost_model is None else str(cost_model),
            vllm=vllm,
            vllm_url=vllm_url,
        ),
    )
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
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result, whatever a library prints
        if method == "all":
            reports = train_all(records, model, settings, out, overwrite=force, resume=resume)
        else:
            reports = [learn(records, model, settings, out, overwrite=force, resume=resume)]
    if is_main_process():
        for report in reports:
            draw_calibration(report)
        documents = [train_report_to_json(report) for report in reports]
        emit(
            {"policies": documents} if method == "all" else documents[0],
            Group(*map(render_train_report, reports)),
            as_json=as_json,
        )
