"""The `copydesk` command: its sub-commands, and what a fault looks like."""

import os
import signal
import sys
from types import FrameType

import typer

from copydesk.cli.bench import bench
from copydesk.cli.cost import cost
from copydesk.cli.demo import demo
from copydesk.cli.diagnose import diagnose
from copydesk.cli.ensemble import ensemble
from copydesk.cli.evaluate import evaluate
from copydesk.cli.export import export
from copydesk.cli.forget import forget
from copydesk.cli.import_ import import_
from copydesk.cli.keys import keys
from copydesk.cli.models import models
from copydesk.cli.policies import policies
from copydesk.cli.serve import serve
from copydesk.cli.simulate import simulate
from copydesk.cli.theory import theory
from copydesk.cli.train import train
from copydesk.cli.users import users
from copydesk.errors import InputError, Interrupted

app = typer.Typer(
    name="copydesk",
    help="Turn the edits people already make to an LLM's output into a better model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def root() -> None:
    """Turn the edits people already make to an LLM's output into a better model."""


app.command("demo")(demo)
app.command("import")(import_)
app.command("export")(export)
app.command("diagnose")(diagnose)
app.command("train")(train)
app.command("simulate")(simulate)
app.command("cost")(cost)
app.command("evaluate")(evaluate)
app.command("theory")(theory)
app.command("serve")(serve)
app.add_typer(bench, name="bench")
app.add_typer(models, name="models")
app.add_typer(policies, name="policies")
app.add_typer(keys, name="keys")
app.add_typer(ensemble, name="ensemble")
app.add_typer(users, name="users")
app.command("forget")(forget)


def main() -> None:
    """Run the command line.

    Exits 0 on success, 2 with one line on stderr on bad input, and 130 or 143 when interrupted or terminated.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except InputError as fault:
        _say(fault)
        sys.exit(2)
    except Interrupted as interruption:
        _say(interruption)
        sys.exit(128 + interruption.number)


def _say(end: BaseException) -> None:
    """Once, where several processes share a run (`accelerate launch`) and all come to the same end."""
    if os.environ.get("RANK", "0") == "0":
        print(f"copydesk: {end}", file=sys.stderr)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)
