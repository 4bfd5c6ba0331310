"""`copydesk demo`: the whole loop on the embedded model, from logged edits to fewer edits."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from copydesk.cli._shared import emit, log_to_stderr, make_console
from copydesk.errors import InputError
from copydesk.simulate.presets import make_demo_config, make_personal_config


def demo_command(
    task: Annotated[str, typer.Option(help="What is written: email or summarization.")] = "email",
    user: Annotated[
        str | None,
        typer.Option(
            help="The user whose edits are logged: strong (edits towards every preference), weak (towards two of them "
            "at a time), weak-0.35, other (another taste) or erring-0.30 (makes errors).",
            show_default="weak; with --personal strong, and all people are like this user",
        ),
    ] = None,
    met_by: Annotated[
        str | None,
        typer.Option(help="The user of the online rounds: any of these, or transfer.", show_default="strong"),
    ] = None,
    edits: Annotated[int, typer.Option(help="The rows n of the log, of all people together.")] = 300,
    rounds: Annotated[int, typer.Option(help="The online rounds T of every policy, and of every person.")] = 200,
    seed: Annotated[int, typer.Option(help="The seed of documents, responses, edits and training.")] = 0,
    personal: Annotated[
        bool, typer.Option("--personal", help="Simulate six people of different tastes, all like --user otherwise.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(help="The number of processes that share out the methods.", show_default="one for each core"),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("demo"),
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier run in that folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """Play the whole loop on the embedded model, in minutes and with no download.

    A reference policy answers, a simulated user edits, and the edits are logged.
    SFT, DPO, RL and an early ensemble learn from the log; a late ensemble of SFT,
    DPO and Early chooses among them online, where every policy meets --met-by.
    Writes the log, the policies, every round, results.json and report.html, and
    prints how much less the user has to edit.

    With --personal, people who want different things share a log. One policy learns
    from everybody's edits and an adapter from each one's own; for each person a late
    ensemble chooses between the two.

    copydesk demo --task summarization --user strong
    copydesk demo --personal
    """
    try:
        import matplotlib  # noqa: F401  # the report needs it: better to know now than after the run

        from copydesk.models.load import quiet_libraries
        from copydesk.report import print_examples, print_results
        from copydesk.simulate.run import choose_jobs, run_experiment
        from copydesk.utils.atomic import atomic_folder, lock_folder
    except ModuleNotFoundError as exc:
        raise InputError(f"the demo needs {exc.name}; install it with: pip install 'copydesk[train,report]'") from None
    if personal and met_by is not None:
        raise InputError("--met-by: with --personal everybody is met online; leave it out")
    settings = (
        make_personal_config(task=task, user=user or "strong", edits=edits, rounds=rounds, seed=seed)
        if personal
        else make_demo_config(
            task=task, user=user or "weak", met_by=met_by or "strong", edits=edits, rounds=rounds, seed=seed
        )
    )
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs: {jobs} must be at least 1")
    log_to_stderr("copydesk.simulate")
    quiet_libraries()
    # Everything is written beside the folder and takes its name at the end: a run is there whole, or not at all.
    with (
        lock_folder(out),
        atomic_folder(out, marker="results.json", overwrite=force) as folder,
        contextlib.redirect_stdout(sys.stderr),
    ):
        results = run_experiment(settings, folder, jobs=jobs or choose_jobs(settings), compact=True)
    if as_json:
        emit(results, Group(), as_json=True)
        return
    console = make_console()
    with (out / "rounds.jsonl").open(encoding="utf-8") as file:
        print_examples(console, [json.loads(line) for line in file], "late")
    who = "simulated people" if personal else f"a simulated user ({met_by or 'strong'})"
    console.print(Text(f"Edited by {who}:"))
    print_results(console, results)
    console.print(Text(f"Report: {out / 'report.html'}"))
