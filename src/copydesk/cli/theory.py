"""`copydesk theory`: measures sub-optimality in the tabular lab, beside the bounds."""

from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from copydesk.cli._options import options_from_config
from copydesk.cli._shared import emit, make_console
from copydesk.errors import InputError
from copydesk.theory import text
from copydesk.theory.page import render_study_html
from copydesk.theory.study import Study, StudyConfig, count_steps, run_study
from copydesk.utils.atomic import atomic_write


@options_from_config()
def theory_command(
    *,
    out: Annotated[Path, typer.Option(help="HTML page to write.")] = Path("theory.html"),
    config: StudyConfig,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Measure sub-optimality in a world small enough to compute exactly, beside the theory's bounds.

    SFT, DPO, RL and the ensembles learn from the edits of users who attend to some or
    all preferences, with reference policies of good and poor coverage. The page shows
    how many edits each method needs beside its bound, which method wins where, the
    regret of the ensembles to the winner, and whether the poster's two claims hold. No model is needed; 20
    repetitions take one or two minutes.

    copydesk theory --out theory.html
    """
    if out.exists() and not out.is_dir() and not force:
        raise InputError(f"--out {out}: this file exists; choose another name, or replace it with --force")
    try:
        import matplotlib  # noqa: F401  # needed by the page: fail before the run, not after it
    except ModuleNotFoundError:
        raise InputError("the page's plots need matplotlib; run: pip install 'copydesk[report]'") from None
    with atomic_write(out) as file:  # opened first, so that an unwritable path fails before the run
        study = _run_with_progress(config)
        file.write(render_study_html(study))
    document = _replace_non_finite(study.to_json()) if as_json else {}
    emit(document, Group(text.render_study_terminal(study), Text(f"\nReport: {out}")), as_json=as_json)


def _run_with_progress(config: StudyConfig) -> Study:
    """Run the study, with a progress bar if stderr is a terminal."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        return run_study(config)
    columns = TextColumn("measuring"), BarColumn(), TextColumn("{task.percentage:.0f}%"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=count_steps(config.repeats))
        return run_study(config, lambda: progress.advance(task))


def _replace_non_finite(value: Any) -> Any:
    """The document with null for infinite bounds and undefined ratios, which JSON cannot represent."""
    if isinstance(value, dict):
        return {name: _replace_non_finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_replace_non_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
