"""`copydesk diagnose`: diagnoses an edit log before training."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from copydesk import embedded
from copydesk.cli._options import options_from_config
from copydesk.cli._shared import emit, iter_store_with_progress, iter_with_progress
from copydesk.data.cost import CostNormalization, CostUnit, EditCost
from copydesk.diagnose import DiagnoseConfig, diagnose_log
from copydesk.diagnose.render import LogOrigin, render_diagnosis_html, render_diagnosis_terminal
from copydesk.errors import InputError
from copydesk.store.store import hide_password, parse_store_url
from copydesk.utils.atomic import atomic_write


@options_from_config()
def diagnose_command(
    *,
    data: Annotated[
        Path | None, typer.Option(help="Log file: JSON Lines with context, response and edit.", show_default=False)
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Store with the log, a file or a URL, instead of --data.", show_default=False)
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Only rows of this user; needs --store.", show_default="all users")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Only rows of users who are in this group now; needs --store.", show_default="all users"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model that wrote the log and is to be trained, to measure coverage: a hub id, a folder, a .gguf "
            "file, 'embedded' or 'smollm2'.",
            show_default="coverage is not measured",
        ),
    ] = None,
    config: DiagnoseConfig,
    unit: Annotated[CostUnit, typer.Option(help="Unit in which the edit cost is counted.")] = "subtoken",
    normalize: Annotated[
        CostNormalization, typer.Option(help="Length that the edit distance is divided by.")
    ] = "response",
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="Tokenizer of the sub-tokens, as for `copydesk cost`.", show_default="the model's, or embedded"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="HTML page to write the diagnosis to.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Diagnose an edit log before training, and recommend a method.

    Measures how much is edited, where, which rewrites are common and whether that
    changes over time; how consistently people edit, and how likely the model is to
    write their edits. Recommends a training method with the reasons, and lists what
    to be careful about.

    copydesk diagnose --data log.jsonl --model Qwen/Qwen3-0.6B --out diagnosis.html
    """
    if (data is None) == (store is None):
        raise InputError("give the log either as --data FILE or as --store URL")
    if data is not None and (user or group):
        raise InputError("--user and --group select rows of a store; give --store, or leave them out")
    if out is not None:
        _check_out(out, data, force)
    log = _describe_origin(data, store, user, group)
    rows = (
        iter_store_with_progress(str(store), "rows", user=user, group=group, pending=True)
        if data is None
        else iter_with_progress(data, "rows")
    )
    if model is not None:
        _quiet_model_libraries()
    metric = EditCost(unit=unit, normalize=normalize, tokenizer=tokenizer or _choose_tokenizer(model))
    with _errors_only("copydesk.training.encode"):
        diagnosis = diagnose_log(rows, model, metric=metric, config=config, name=log.name)
    if out is not None:
        page = render_diagnosis_html(diagnosis, log)
        with atomic_write(out) as file:
            file.write(page)
    emit(
        {"data": log.name, "out": str(out) if out else None, **diagnosis.to_json()},
        render_diagnosis_terminal(diagnosis, log, out),
        as_json=as_json,
    )


@contextlib.contextmanager
def _errors_only(name: str) -> Iterator[None]:
    """Hide a logger's warnings: they name options of another command, and the diagnosis counts the rows itself."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _describe_origin(data: Path | None, store: str | None, user: str | None, group: str | None) -> LogOrigin:
    if data is not None:
        return LogOrigin(str(data), ("--data", str(data)))
    selection = {"--user": user, "--group": group}
    options = [word for option, value in selection.items() if value is not None for word in (option, value)]
    name = hide_password(parse_store_url(str(store)))
    return LogOrigin(" ".join([name, *options]), ("--store", name if "://" in str(store) else str(store), *options))


def _check_out(out: Path, data: Path | None, force: bool) -> None:
    """Reject a page that could not be written, before the work and not after it."""
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
    """The tokenizer of the edit cost: the model's, if it can be read without loading the model."""
    if model is None or (Path(model).exists() and not (Path(model) / "tokenizer.json").is_file()):
        return embedded.NAME
    return model
