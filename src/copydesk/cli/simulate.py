"""`copydesk simulate`: the online phase of Protocol 1, for given policies and a scripted user."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.text import Text

from copydesk.cli._options import options_from_config
from copydesk.cli._shared import emit, log_to_stderr, parse_policy_args
from copydesk.data.jsonl import load_log
from copydesk.errors import InputError
from copydesk.simulate.play_config import OnlineConfig, PlayConfig


@options_from_config(exclude=("model", "c_max", "max_new_tokens"))
def simulate_command(
    play: PlayConfig,
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
    """Play existing policies with a scripted user, and an ensemble that chooses among them.

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
        from copydesk.policies import open_policy
        from copydesk.report import print_results
        from copydesk.simulate.online import play_policies
        from copydesk.simulate.outcome import write_results
        from copydesk.utils.atomic import atomic_folder
    except ModuleNotFoundError as exc:
        raise InputError(
            f"a simulation needs {exc.name}; install it with: pip install 'copydesk[train,report]'"
        ) from None
    settings = OnlineConfig(**dict(play), policies=specs)
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
