"""`copydesk train`: learn a policy from a log of edits."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich import box
from rich.console import Group
from rich.table import Table

from copydesk.cli.output import emit, log_to_stderr
from copydesk.errors import InputError
from copydesk.learn.settings import Dtype, PreferenceForm, TrainSettings
from copydesk.log.jsonl import load_log

if TYPE_CHECKING:
    from copydesk.learn.train import TrainReport

_DEFAULT = TrainSettings()

MethodOrAll = Literal["sft", "dpo", "early", "all"]

# What the table shows, in its order: a figure on the held-out rows, and what to call it.
_FIGURES = {
    "loss": "objective (loss)",
    "loss/supervised": "supervised term",
    "loss/preference": "preference term",
    "logp/edit": "log-probability of the edit",
    "logp_per_token/edit": "... per token",
    "logp/response": "log-probability of the response",
    "margin": "margin",
    "kl": "KL from the reference, estimated",
    "accuracy": "edit preferred to response",
}


def train(
    data: Annotated[Path, typer.Option(help="The log: JSON Lines with context, response and edit.")],
    model: Annotated[str, typer.Option(help="What to train: a hub id, a folder, a .gguf file, or 'embedded'.")],
    out: Annotated[Path, typer.Option(help="The folder to write the policy to; with 'all', the folder of all.")],
    method: Annotated[
        MethodOrAll,
        typer.Option(help="Learn from edits as supervision, as preference, or both; or make every policy at once."),
    ] = _DEFAULT.method,
    epochs: Annotated[float, typer.Option(help="Passes over the log.")] = _DEFAULT.epochs,
    max_steps: Annotated[
        int | None, typer.Option(help="Stop after so many optimizer steps.", show_default="as --epochs says")
    ] = _DEFAULT.max_steps,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Peak learning rate.", show_default="sft 2e-4, dpo 5e-5, early 1e-4; --full 1e-5, 1e-6, 5e-6"
        ),
    ] = _DEFAULT.learning_rate,
    warmup: Annotated[float, typer.Option(help="Share of the steps with a rising rate.")] = _DEFAULT.warmup_ratio,
    batch_size: Annotated[int, typer.Option(help="Rows in one forward pass.")] = _DEFAULT.batch_size,
    accumulate: Annotated[int, typer.Option(help="Forward passes to one optimizer step.")] = _DEFAULT.accumulate,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = _DEFAULT.clip,
    beta: Annotated[float, typer.Option(help="Pull towards the reference policy (dpo, early).")] = _DEFAULT.beta,
    preference: Annotated[
        PreferenceForm, typer.Option(help="Form of the preference loss (dpo, early); sigmoid is DPO's own.")
    ] = _DEFAULT.preference,
    label_noise: Annotated[
        float, typer.Option(help="For robust: share of edits believed to be no better.")
    ] = _DEFAULT.label_noise,
    dpop_penalty: Annotated[
        float, typer.Option(help="For dpop: weight of edits becoming less likely.")
    ] = _DEFAULT.dpop_penalty,
    lambda_sup: Annotated[float, typer.Option(help="Weight of the supervised term (early).")] = _DEFAULT.lambda_sup,
    weigh: Annotated[
        str | None,
        typer.Option(
            help="Weigh rows: user (every user the same), recency:DAYS (half-life), field:NAME (of metadata).",
            show_default="all alike",
        ),
    ] = _DEFAULT.weigh,
    full: Annotated[bool, typer.Option("--full", help="Train all weights instead of a LoRA adapter.")] = _DEFAULT.full,
    lora_r: Annotated[int, typer.Option(help="Rank of the adapter.")] = _DEFAULT.lora_r,
    lora_alpha: Annotated[int, typer.Option(help="The adapter is scaled by alpha / r.")] = _DEFAULT.lora_alpha,
    lora_dropout: Annotated[float, typer.Option(help="Dropout in the adapter.")] = _DEFAULT.lora_dropout,
    max_length: Annotated[
        int, typer.Option(help="Most tokens of context and answer; longer contexts lose their beginning.")
    ] = _DEFAULT.max_length,
    cut_answers: Annotated[
        bool, typer.Option("--cut-answers", help="Cut answers too long for --max-length; else their rows are left out.")
    ] = _DEFAULT.cut_answers,
    row_tokens: Annotated[
        int | None, typer.Option(help="Fill packed rows up to so many tokens.", show_default="what suits the device")
    ] = _DEFAULT.row_tokens,
    held_out: Annotated[float, typer.Option(help="Share of the rows kept to measure with.")] = _DEFAULT.held_out,
    seed: Annotated[int, typer.Option(help="Decides the split, the first weights and the order.")] = _DEFAULT.seed,
    dtype: Annotated[Dtype, typer.Option(help="Of the weights; auto suits the device.")] = _DEFAULT.dtype,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Recompute activations: less memory, more time.")
    ] = _DEFAULT.checkpointing,
    save_every: Annotated[
        float, typer.Option(help="Keep a checkpoint every so many steps, or, below 1, this share of the run.")
    ] = _DEFAULT.save_every,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a policy of that name; start an unfinished run over.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Learn a policy from a log of edits.

    Trains an adapter (or, with --full, all weights) of any causal language model,
    and writes an ordinary PEFT or Transformers folder with a policy.json that
    says how it was made. Some rows are held out, and the policy is measured on
    them before and after. A run may be interrupted at any moment: the same
    command with --resume goes on.

    copydesk train --data log.jsonl --model Qwen/Qwen3-0.6B --method early --out policies/early-1

    With --method all every policy is made from one tokenisation and one
    reference pass, each in a folder of its own in --out.
    """
    settings = TrainSettings(
        method=_DEFAULT.method if method == "all" else method,
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
    )
    records = load_log(data)
    try:
        from copydesk.learn.models import quiet_libraries
        from copydesk.learn.processes import is_main
        from copydesk.learn.train import check_log, train_all
        from copydesk.learn.train import train as learn
    except ModuleNotFoundError as fault:
        raise InputError(f"training needs {fault.name}; install it with: pip install 'copydesk[train]'") from None
    check_log(records, str(data))
    if is_main():
        log_to_stderr("copydesk")
    quiet_libraries()
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result, whatever a library prints
        if method == "all":
            reports = train_all(records, model, settings, out, overwrite=force, resume=resume)
        else:
            reports = [learn(records, model, settings, out, overwrite=force, resume=resume)]
    if is_main():
        documents = [_document(report) for report in reports]
        document = {"policies": documents} if method == "all" else documents[0]
        emit(document, Group(*map(_rendered, reports)), as_json=as_json)


def _document(report: "TrainReport") -> dict[str, Any]:
    return {"folder": str(report.folder), "seconds": round(report.seconds, 3), **report.policy.model_dump(mode="json")}


def _rendered(report: "TrainReport") -> Group:
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
    for figure, name in _FIGURES.items():
        if figure in policy.after:
            table.add_row(name, f"{policy.before[figure]:.4f}", f"{policy.after[figure]:.4f}")
    measured = table if policy.after else "No rows were held out, so nothing was measured."
    remarks = [f"Note: {remark}" for remark in policy.remarks]
    return Group(trained, measured, *remarks, f"Policy: {report.folder}", f"Load it: {_how_to_load(report)}")


def _how_to_load(report: "TrainReport") -> str:
    folder = str(report.folder)
    if report.policy.settings["full"]:
        return f"transformers.AutoModelForCausalLM.from_pretrained({folder!r})"
    if report.policy.base.kind == "gguf":  # PEFT itself does not read the base from a GGUF file
        return f"copydesk.learn.models.load_model({folder!r})"
    return f"peft.AutoPeftModelForCausalLM.from_pretrained({folder!r})"
