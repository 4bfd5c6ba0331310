"""`copydesk theory`: the tabular lab, measured sub-optimality beside the bounds."""

from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from copydesk.cli._shared import emit
from copydesk.errors import InputError
from copydesk.theory import text
from copydesk.theory.page import render_study_html
from copydesk.theory.study import Study, count_steps, run_study
from copydesk.utils.atomic import atomic_write


def theory_command(
    out: Annotated[Path, typer.Option(help="The page to write (HTML).")] = Path("theory.html"),
    repeats: Annotated[int, typer.Option(help="Logs to draw for each setting and length.")] = 20,
    seed: Annotated[int, typer.Option(help="Decides the logs, and the rounds of the late ensemble.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace that page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Measure, in a world small enough to compute everything, what the theory bounds.

    SFT, DPO, RL and the ensembles learn from the edits of weak and strong users, with
    reference policies that cover what people want well or poorly. The page shows how
    many edits each method takes beside its bound, which one wins where, what the
    ensembles lose to the winner, and whether the poster's two sentences hold. No
    model is needed; 20 repetitions take a minute or two.

    copydesk theory --out theory.html
    """
    if repeats < 2:
        raise InputError(f"--repeats {repeats}: must be at least 2, since one repetition shows no spread")
    if seed < 0:
        raise InputError(f"--seed {seed}: must be 0 or more")
    if out.exists() and not out.is_dir() and not force:
        raise InputError(f"--out {out}: this file exists; choose another name, or replace it with --force")
    try:
        import matplotlib  # noqa: F401  # the page needs it: better to know now than after the run
    except ModuleNotFoundError:
        raise InputError("the page's plots need matplotlib; run: pip install 'copydesk[report]'") from None
    with atomic_write(out) as file:  # entered first, which shows whether the place can be written to
        study = _run_with_progress(repeats, seed)
        file.write(render_study_html(study))
    document = _replace_non_finite(study.to_json()) if as_json else {}
    emit(document, Group(text.render_study_terminal(study), Text(f"\nReport: {out}")), as_json=as_json)


def _run_with_progress(repeats: int, seed: int) -> Study:
    """The study, with a progress bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return run_study(repeats, seed)
    columns = TextColumn("measures"), BarColumn(), TextColumn("{task.percentage:.0f}%"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=count_steps(repeats))
        return run_study(repeats, seed, lambda: progress.advance(task))


def _replace_non_finite(value: Any) -> Any:
    """The document with null for bounds that are infinite and ratios that are none, which JSON has no words for."""
    if isinstance(value, dict):
        return {name: _replace_non_finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_replace_non_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
