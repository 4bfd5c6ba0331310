"""`copydesk bench`: the paper's tables, harder users, and sweeps."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from copydesk.cli._options import options_from_config, parse_list
from copydesk.cli._shared import emit, log_to_stderr, make_console
from copydesk.errors import InputError
from copydesk.policy_spec import PolicySpec
from copydesk.simulate.config import ExperimentConfig
from copydesk.simulate.presets import add_harder_users, add_more_methods, sweep_scenarios
from copydesk.utils.config import merge_config, read_toml

bench_app = typer.Typer(help="Benchmarks of the whole loop.", no_args_is_help=True)

_ONLY_IN_A_FILE = (
    *("rules", "temperature", "alpha", "discounted_alpha", "discount", "thompson_alpha", "c_max", "max_length"),
    *("max_new_tokens", "task_edits", "user_tokens", "concurrency", "batch_size", "recipe", "log_temperature"),
    *("unseen_values", "trim_repeats"),
    *("cost_unit", "policies", "exclude_logs", "personal", "prior"),
)


@bench_app.callback()
def bench_callback() -> None:
    """Benchmarks of the whole loop."""


@bench_app.command("paper")
@options_from_config(exclude=_ONLY_IN_A_FILE)
def bench_paper_command(
    options: Annotated[dict[str, Any], ExperimentConfig],
    harder: Annotated[
        bool,
        typer.Option(
            "--harder",
            "--shift",
            help="Add columns of harder users: with another taste, who change halfway, or who make errors.",
        ),
    ] = False,
    beyond: Annotated[
        bool, typer.Option("--beyond", help="Add every training method that the paper's tables have no row for.")
    ] = False,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Run a sweep instead of the table: over strength (the probability with which the weak user attends "
            "to a preference) or n (the rows of the log)."
        ),
    ] = None,
    values: Annotated[str | None, typer.Option(help="The points of the sweep, with commas between.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with these settings and more; options given here go before it.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="The number of logs worked on at a time.", show_default="one for each core")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("bench"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in that folder; what is finished is kept.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove an earlier run in that folder first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """The paper's tables: every method, in every column, over several seeds.

    For every seed and log: a reference policy answers, a user edits, every method
    learns from the edits, and each then plays the online rounds. Writes every
    round, results.json and report.html with the table beside the paper's. A run
    that was stopped continues with --resume.

    copydesk bench paper --out table
    copydesk bench paper --columns email/strong --harder --out harder
    copydesk bench paper --sweep strength --columns email/strong --out sweep
    copydesk bench paper --config examples/paper.toml --out paper
    """
    try:
        import matplotlib  # noqa: F401  # the report needs it: better to know now than after the run

        from copydesk.models.load import quiet_libraries
        from copydesk.report import print_results
        from copydesk.simulate.run import choose_jobs, run_experiment
    except ModuleNotFoundError as exc:
        raise InputError(
            f"a benchmark needs {exc.name}; install it with: pip install 'copydesk[train,report]'"
        ) from None
    in_file = {} if config is None else read_toml(config)
    if "users" in options and isinstance(in_file.get("users"), dict):
        options["users"] = in_file["users"] | options["users"]
    settings = merge_config(ExperimentConfig, config, in_file, options)
    for spec in settings.users.values():
        PolicySpec.parse(spec).check_command("bench --user")
    if harder and sweep is not None:
        raise InputError("--harder: a sweep has columns of its own; give --harder or --sweep")
    if beyond:
        settings = add_more_methods(settings)
    if harder:
        settings = add_harder_users(settings)
    if sweep is not None:
        settings = sweep_scenarios(settings, sweep, parse_list("--values", values or "", float))
    elif values is not None:
        raise InputError("--values: they are the points of a sweep; give --sweep strength or --sweep n with them")
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs: {jobs} must be at least 1")
    if resume and force:
        raise InputError("--resume --force: one continues the run in that folder and the other removes it; give one")
    log_to_stderr("copydesk.simulate")
    quiet_libraries()
    with contextlib.redirect_stdout(sys.stderr):
        results = run_experiment(settings, out, jobs=jobs or choose_jobs(settings), resume=resume, overwrite=force)
    if as_json:
        emit(results, Group(), as_json=True)
        return
    console = make_console()
    print_results(console, results)
    console.print(Text(f"Report: {out / 'report.html'}"))
