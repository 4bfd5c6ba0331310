"""`copydesk simulate`: the online phase of Protocol 1, for given policies and a scripted user."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.text import Text

from copydesk.cli._shared import emit, log_to_stderr, parse_policy_args
from copydesk.data.jsonl import load_log
from copydesk.errors import InputError


def simulate_command(
    policy: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SPEC: a model, a policy's folder, or best-of-N:SPEC@COST_MODEL. Give several."),
    ] = None,
    demo: Annotated[
        Path | None, typer.Option("--from", help="Play all policies that a demo run left in this folder.")
    ] = None,
    task: Annotated[str, typer.Option(help="What is written: email or summarization.")] = "email",
    user: Annotated[str, typer.Option(help="Who edits: strong (mends nearly all) or weak (a little).")] = "strong",
    rounds: Annotated[int, typer.Option(help="Online rounds, for every policy.")] = 200,
    seed: Annotated[int, typer.Option(help="Decides documents, responses and edits.")] = 0,
    temperature: Annotated[float, typer.Option(help="Of the responses.")] = 0.7,
    alpha: Annotated[float, typer.Option(help="How much the late ensemble explores.")] = 0.3,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("simulation"),
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier run in that folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """Play policies that are there already with a scripted user, and an ensemble that chooses among them.

    Every policy meets the same documents, the same luck and the same user. Writes
    every round, results.json and report.html. best-of-8:SPEC@COST_MODEL drafts
    eight responses and gives the one that a cost model finds cheapest; an rl
    policy's folder holds the cost model it was trained against.

    copydesk simulate --from demo --policy best=best-of-8:demo/policies/sft@demo/policies/rl/cost_model
    """
    specs = parse_policy_args(policy or [], demo)
    try:
        import matplotlib  # noqa: F401  # the report needs it: better to know now than after the run

        from copydesk.models.load import quiet_libraries
        from copydesk.policies import open_policy
        from copydesk.report import print_results
        from copydesk.simulate.online import OnlineConfig, play_policies
        from copydesk.simulate.outcome import write_results
        from copydesk.utils.atomic import atomic_folder
    except ModuleNotFoundError as exc:
        raise InputError(
            f"a simulation needs {exc.name}; install it with: pip install 'copydesk[train,report]'"
        ) from None
    settings = OnlineConfig(
        task=task, user=user, rounds=rounds, seed=seed, temperature=temperature, alpha=alpha, policies=specs
    )
    log_to_stderr("copydesk.simulate")
    quiet_libraries()
    with atomic_folder(out, marker="results.json", overwrite=force) as folder, contextlib.redirect_stdout(sys.stderr):
        policies = [open_policy(name, spec) for name, spec in specs.items()]
        outcome = play_policies(policies, settings, [] if demo is None else load_log(demo / "log.jsonl"))
        results = write_results(folder, [(settings, outcome)])
    if as_json:
        emit(results, Group(), as_json=True)
        return
    console = Console(emoji=False)
    print_results(console, results)
    console.print(Text(f"Report: {out / 'report.html'}"))
