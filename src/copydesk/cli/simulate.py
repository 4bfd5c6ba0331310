"""`copydesk simulate`: the online phase of Protocol 1, for given policies and a scripted user."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from copydesk.cli._shared import emit, log_to_stderr, make_console, parse_policy_args
from copydesk.errors import InputError
from copydesk.policy_spec import PolicySpec
from copydesk.simulate.presets import make_simulation_config


def simulate_command(
    task: Annotated[str, typer.Option(help="What is written: email or summarization.")] = "email",
    met_by: Annotated[
        str,
        typer.Option(
            "--met-by",
            "--user",
            help="The user who edits: strong (edits towards every preference), weak (towards two of them at a time), "
            "weak-0.35, transfer, other (another taste) or erring-0.30 (makes errors).",
        ),
    ] = "strong",
    rounds: Annotated[int, typer.Option(help="The online rounds T of every policy.")] = 200,
    seed: Annotated[int, typer.Option(help="The seed of documents, responses and edits.")] = 0,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="The temperature of the responses, the same for every policy; 0 is greedy.",
            show_default="0; with best-of-N 0.7, since greedy drafts are all the same",
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(help="How much the late ensemble explores: α of its UCB rule.")] = 0.1,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="A policy, as NAME=SPEC; SPEC is a model, a policy's folder, or best-of-N:SPEC@COST_MODEL. "
            "May be repeated."
        ),
    ] = None,
    demo: Annotated[
        Path | None, typer.Option("--from", help="Play all policies that a demo run left in this folder.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("simulation"),
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier run in that folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """Play existing policies with a simulated user, and an ensemble that chooses among them.

    Every policy meets the same documents, the same random numbers and the same user. Writes
    every round, results.json and report.html. best-of-8:SPEC@COST_MODEL drafts
    eight responses and gives the one that a cost model finds cheapest; an rl
    policy's folder holds the cost model it was trained against.

    copydesk simulate --from demo --policy best=best-of-8:demo/policies/sft@demo/policies/rl/cost_model
    """
    specs = parse_policy_args("simulate", policy or [], demo)
    try:
        import matplotlib  # noqa: F401  # the report needs it: better to know now than after the run

        from copydesk.models.load import quiet_libraries
        from copydesk.report import print_results
        from copydesk.simulate.run import run_experiment
        from copydesk.utils.atomic import atomic_folder, lock_folder
    except ModuleNotFoundError as exc:
        raise InputError(
            f"a simulation needs {exc.name}; install it with: pip install 'copydesk[train,report]'"
        ) from None
    if temperature is None:
        several_drafts = any(PolicySpec.parse(spec).form == "best-of-n" for spec in specs.values())
        temperature = 0.7 if several_drafts else 0.0
    settings = make_simulation_config(
        specs,
        task=task,
        met_by=met_by,
        rounds=rounds,
        seed=seed,
        temperature=temperature,
        alpha=alpha,
        exclude_logs=[]
        if demo is None
        else [str(file) for name in ("log", "held_out") if (file := demo / f"{name}.jsonl").exists()],
    )
    log_to_stderr("copydesk.simulate")
    quiet_libraries()
    with (
        lock_folder(out),
        atomic_folder(out, marker="results.json", overwrite=force) as folder,
        contextlib.redirect_stdout(sys.stderr),
    ):
        results = run_experiment(settings, folder, compact=True)
    if as_json:
        emit(results, Group(), as_json=True)
        return
    console = make_console()
    print_results(console, results)
    console.print(Text(f"Report: {out / 'report.html'}"))
