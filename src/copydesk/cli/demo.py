"""`copydesk demo`: the whole loop on the embedded model, from logged edits to fewer edits."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.text import Text

from copydesk.cli._options import options_from_config
from copydesk.cli._shared import emit, log_to_stderr
from copydesk.errors import InputError
from copydesk.simulate.play_config import DemoConfig, PersonalConfig


@options_from_config(exclude=("model", "temperature", "alpha", "c_max", "max_new_tokens", "log_temperature", "recipe"))
def demo_command(
    settings: DemoConfig,
    personal: Annotated[
        bool, typer.Option("--personal", help="Simulate six people of different tastes, all as strong as --user.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("demo"),
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier run in that folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """Play the whole loop on the embedded model, in minutes and with no download.

    A reference policy answers, a simulated user edits, and the edits are logged.
    SFT, DPO, RL and an early ensemble learn from the log; a late ensemble chooses
    among them online. Writes the log, the policies, every round, results.json
    and report.html, and prints how much less the user has to edit.

    With --personal, people who want different things share a log. One policy learns
    from everybody's edits and an adapter from each one's own; for each person a late
    ensemble chooses between the two.

    copydesk demo --task summarization --user weak
    copydesk demo --personal
    """
    try:
        import matplotlib  # noqa: F401  # the report needs it: better to know now than after the run

        from copydesk.models.load import quiet_libraries
        from copydesk.report import print_examples, print_results
        from copydesk.simulate.demo_run import run_demo
        from copydesk.simulate.outcome import write_results
        from copydesk.simulate.personal_run import run_personal
        from copydesk.utils.atomic import atomic_folder
    except ModuleNotFoundError as exc:
        raise InputError(f"the demo needs {exc.name}; install it with: pip install 'copydesk[train,report]'") from None
    given = {name: getattr(settings, name) for name in ("task", "user", "edits", "rounds", "seed")}
    people = PersonalConfig(**given) if personal else None
    log_to_stderr("copydesk.simulate")
    quiet_libraries()
    # Everything is written beside the folder and takes its name at the end: a run is there whole, or not at all.
    with atomic_folder(out, marker="results.json", overwrite=force) as folder, contextlib.redirect_stdout(sys.stderr):
        outcome = run_demo(settings, folder) if people is None else run_personal(people, folder)
        results = write_results(folder, [(people or settings, outcome)])
    if as_json:
        emit(results, Group(), as_json=True)
        return
    console = Console(emoji=False)
    played = [one.to_json() for one in outcome.rounds]
    print_examples(console, played, "late")
    print_results(console, results)
    console.print(Text(f"Report: {out / 'report.html'}"))
