"""`copydesk diagnose`: what a log says before anything is trained on it."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from copydesk import embedded
from copydesk.cli._shared import emit, iter_store_with_progress, iter_with_progress
from copydesk.data.cost import CostNormalization, CostUnit, EditCost
from copydesk.diagnose import diagnose as diagnosed
from copydesk.diagnose.render import LogOrigin, render_diagnosis_html, render_diagnosis_terminal
from copydesk.errors import InputError
from copydesk.store.store import hide_password, parse_store_url
from copydesk.utils.atomic import atomic_write


def diagnose_command(
    data: Annotated[
        Path | None, typer.Option(help="The log: JSON Lines with context, response and edit.", show_default=False)
    ] = None,
    store: Annotated[str | None, typer.Option(help="Or a store, a file or a URL.", show_default=False)] = None,
    user: Annotated[str | None, typer.Option(help="With --store: this user's only.", show_default="everyone's")] = None,
    group: Annotated[
        str | None, typer.Option(help="With --store: of users in this group now.", show_default="everyone's")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model that wrote it, and is to be trained: a hub id, a folder, a .gguf file, 'embedded' or "
            "'smollm2'. Measures coverage.",
            show_default="coverage is not measured",
        ),
    ] = None,
    sample: Annotated[int, typer.Option(help="With --model: edited rows that it scores.")] = 200,
    seed: Annotated[int, typer.Option(help="Decides which, and the model's own responses.")] = 0,
    region: Annotated[str, typer.Option(help="Of phone numbers without a country's code: US, GB, DE, ...")] = "US",
    unit: Annotated[CostUnit, typer.Option(help="What the edit cost counts.")] = "subtoken",
    normalize: Annotated[CostNormalization, typer.Option(help="Whose length the distance is divided by.")] = "response",
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Whose sub-tokens, as for `copydesk cost`.", show_default="the model's, or embedded"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the diagnosis as a page here (HTML).", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace that page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Tell what a log says before anything is trained on it.

    How much is edited, where, what into what, and whether that changes over time;
    how alike people edit, and whether the model would write what they wrote. From
    that, which method to train with, what to be careful about, and the reasons.

    copydesk diagnose --data log.jsonl --model Qwen/Qwen3-0.6B --out diagnosis.html
    """
    if (data is None) == (store is None):
        raise InputError("give the log either as --data FILE or as --store URL")
    if data is not None and (user or group):
        raise InputError("--user and --group choose rows of a store; give --store, or leave them out")
    if out is not None:
        _check_out(out, data, force)
    log = _describe_origin(data, store, user, group)
    rows = (
        iter_store_with_progress(str(store), "rows", user=user, group=group, pending=True)
        if data is None
        else iter_with_progress(data, "rows")
    )
    # What it says of rows too long names options of another command; the diagnosis counts them itself.
    logging.getLogger("copydesk.training.encode").setLevel(logging.ERROR)
    if model is not None:
        _quiet_model_libraries()
    metric = EditCost(unit=unit, normalize=normalize, tokenizer=tokenizer or _choose_tokenizer(model))
    diagnosis = diagnosed(rows, model, metric=metric, sample=sample, seed=seed, region=region, name=log.name)
    if out is not None:
        page = render_diagnosis_html(diagnosis, log)
        with atomic_write(out) as file:
            file.write(page)
    emit(
        {"data": log.name, "out": str(out) if out else None, **diagnosis.to_json()},
        render_diagnosis_terminal(diagnosis, log, out),
        as_json=as_json,
    )


def _describe_origin(data: Path | None, store: str | None, user: str | None, group: str | None) -> LogOrigin:
    if data is not None:
        return LogOrigin(str(data), ("--data", str(data)))
    chosen = {"--user": user, "--group": group}
    options = [word for option, value in chosen.items() if value is not None for word in (option, value)]
    name = hide_password(parse_store_url(str(store)))
    return LogOrigin(" ".join([name, *options]), ("--store", name if "://" in str(store) else str(store), *options))


def _check_out(out: Path, data: Path | None, force: bool) -> None:
    """Refuse before the work, not after it, what could not be written in the end."""
    if data is not None and out.exists() and data.exists() and out.samefile(data):
        raise InputError(f"--out {out}: that is the log itself; choose another name")
    if out.exists() and not force:
        raise InputError(f"--out {out}: this file exists; choose another name, or replace it with --force")
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise InputError("--out: the page's plots need matplotlib; run: pip install 'copydesk[report]'") from None


def _quiet_model_libraries() -> None:
    try:
        from copydesk.models.load import quiet_libraries
    except ModuleNotFoundError as exc:
        raise InputError(f"--model needs {exc.name}; install it with: pip install 'copydesk[train]'") from None
    quiet_libraries()


def _choose_tokenizer(model: str | None) -> str:
    """Whose sub-tokens to count: the model's, where its tokenizer can be read without it."""
    if model is None or (Path(model).exists() and not (Path(model) / "tokenizer.json").is_file()):
        return embedded.NAME
    return model
