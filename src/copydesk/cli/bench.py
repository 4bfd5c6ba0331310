"""`copydesk bench`: the poster's table, users who are not those of the log, and sweeps."""

import contextlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.text import Text

from copydesk.cli._shared import emit, log_to_stderr, parse_name_and_spec
from copydesk.errors import InputError

bench_app = typer.Typer(help="Benchmarks of the whole loop.", no_args_is_help=True)


@bench_app.callback()
def bench_callback() -> None:
    """Benchmarks of the whole loop."""


@bench_app.command("paper")
def bench_paper_command(
    columns: Annotated[
        str | None,
        typer.Option(
            help="TASK/USER, with commas between. USER: strong, weak, other, p0.35, or A-to-B, A-then-B.",
            show_default="the poster's four",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="The rows: base, sft, dpo, rl, early, late; oracle, icl-K, cipher-K; late-thompson, ...",
            show_default="base,sft,dpo,rl,early,late",
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="With commas between. Each redraws everything.", show_default="0,1,2")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Online rounds of every method.", show_default="200")] = None,
    edits: Annotated[int | None, typer.Option(help="Rows of every log.", show_default="300")] = None,
    model: Annotated[
        str | None, typer.Option(help="What learns: embedded, smollm2, a hub id, ...", show_default="embedded")
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SPEC: an LLM plays this user: MODEL@URL of an OpenAI-compatible server, or a model."),
    ] = None,
    arms: Annotated[
        str | None, typer.Option(help="What late ensembles choose from; all trained methods unless given.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="A sentence encoder that finds past edits; else the model's own states do.")
    ] = None,
    shift: Annotated[
        bool, typer.Option("--shift", help="Add columns in which others are met online than those of the log.")
    ] = False,
    sweep: Annotated[
        str | None, typer.Option(help="Instead of the table: strength (p of the user) or n (rows of the log).")
    ] = None,
    values: Annotated[str | None, typer.Option(help="Where a sweep looks, with commas between.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with these settings and more.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Logs worked on at a time; a core each unless given.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("bench"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on in that folder; what is finished stays.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove an earlier run in that folder first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """The poster's table: every method, in every column, over several seeds.

    For every seed and log: a reference policy answers, a user edits, every method
    learns from the edits, and each then plays the online rounds. Writes every
    round, results.json and report.html with the table beside the poster's. A run
    that was stopped goes on with --resume.

    copydesk bench paper --out table
    copydesk bench paper --columns email/strong --shift --out shift
    copydesk bench paper --sweep strength --columns email/strong --out sweep
    copydesk bench paper --config examples/paper.toml --out paper
    """
    try:
        import matplotlib  # noqa: F401  # the report needs it: better to know now than after the run

        from copydesk.models.load import quiet_libraries
        from copydesk.report import print_results
        from copydesk.simulate.config import (
            LATE_METHODS,
            ExperimentConfig,
            parse_scenario_arg,
            read_experiment_config,
            shift_scenarios,
            sweep_scenarios,
        )
        from copydesk.simulate.run import choose_jobs, run_experiment
        from copydesk.simulate.run_folder import CONFIG_FILE
    except ModuleNotFoundError as exc:
        raise InputError(
            f"a benchmark needs {exc.name}; install it with: pip install 'copydesk[train,report]'"
        ) from None
    given: dict[str, Any] = {} if config is None else read_experiment_config(config)
    given |= {
        name: value
        for name, value in {
            "columns": _split_words(columns),
            "methods": _split_words(methods),
            "seeds": _parse_numbers("--seeds", seeds, int),
            "rounds": rounds,
            "edits": edits,
            "model": model,
            "arms": _split_words(arms),
            "encoder": encoder,
        }.items()
        if value is not None
    }
    if user:
        given["users"] = {**given.get("users", {}), **dict(parse_name_and_spec(word, "--user") for word in user)}
    settings = ExperimentConfig(**given)
    if shift and sweep is not None:
        raise InputError("--shift: a sweep has columns of its own; give --shift or --sweep")
    if shift:
        tasks = list(dict.fromkeys(parse_scenario_arg(name).task for name in settings.columns))
        more = [name for name in shift_scenarios(tasks) if name not in settings.columns]
        rules = (
            tuple(name for name in LATE_METHODS if name not in settings.methods) if "late" in settings.methods else ()
        )
        settings = replace(settings, columns=(*settings.columns, *more), rules=rules)
    if sweep is not None:
        settings = sweep_scenarios(settings, sweep, _parse_numbers("--values", values, float) or ())
    elif values is not None:
        raise InputError("--values: they are where a sweep looks; give --sweep strength or --sweep n with them")
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs: {jobs} must be at least 1")
    if resume and force:
        raise InputError("--resume --force: one goes on with the run in that folder and the other removes it; give one")
    log_to_stderr("copydesk.simulate")
    quiet_libraries()
    if force and (out / CONFIG_FILE).is_file():
        shutil.rmtree(out)
    with contextlib.redirect_stdout(sys.stderr):
        results = run_experiment(settings, out, jobs=jobs or choose_jobs(settings), resume=resume)
    if as_json:
        emit(results, Group(), as_json=True)
        return
    console = Console(emoji=False)
    print_results(console, results)
    console.print(Text(f"Report: {out / 'report.html'}"))


def _split_words(given: str | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(word.strip() for word in given.split(",") if word.strip())


def _parse_numbers(option: str, given: str | None, kind: type[int] | type[float]) -> tuple[Any, ...] | None:
    words = _split_words(given)
    if words is None:
        return None
    try:
        return tuple(kind(word) for word in words)
    except ValueError:
        raise InputError(f"{option} {given}: write numbers with commas between, such as 0,1,2") from None
