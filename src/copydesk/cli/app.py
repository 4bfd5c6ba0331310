"""The `copydesk` command: its sub-commands, and what a fault looks like."""

import os
import signal
import sys
from types import FrameType

import typer

from copydesk.cli.bench import bench_app
from copydesk.cli.cost import cost_command
from copydesk.cli.demo import demo_command
from copydesk.cli.diagnose import diagnose_command
from copydesk.cli.ensemble import ensemble_app
from copydesk.cli.evaluate import evaluate_command
from copydesk.cli.export import export_command
from copydesk.cli.forget import forget_command
from copydesk.cli.import_ import import_command
from copydesk.cli.keys import keys_app
from copydesk.cli.models import models_app
from copydesk.cli.policies import policies_app
from copydesk.cli.serve import serve_command
from copydesk.cli.simulate import simulate_command
from copydesk.cli.theory import theory_command
from copydesk.cli.train import train_command
from copydesk.cli.users import users_app
from copydesk.errors import InputError, Interrupted

app = typer.Typer(
    name="copydesk",
    help="Turn the edits people already make to an LLM's output into a better model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def root_callback() -> None:
    """Turn the edits people already make to an LLM's output into a better model."""


app.command("demo")(demo_command)
app.command("import")(import_command)
app.command("export")(export_command)
app.command("diagnose")(diagnose_command)
app.command("train")(train_command)
app.command("simulate")(simulate_command)
app.command("cost")(cost_command)
app.command("evaluate")(evaluate_command)
app.command("theory")(theory_command)
app.command("serve")(serve_command)
app.add_typer(bench_app, name="bench")
app.add_typer(models_app, name="models")
app.add_typer(policies_app, name="policies")
app.add_typer(keys_app, name="keys")
app.add_typer(ensemble_app, name="ensemble")
app.add_typer(users_app, name="users")
app.command("forget")(forget_command)


def main() -> None:
    """Run the command line.

    Exits 0 on success, 2 with one line on stderr on bad input, and 130 or 143 when interrupted or terminated.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise_interrupted)
    try:
        app()
    except InputError as exc:
        _print_error(exc)
        sys.exit(2)
    except Interrupted as exc:
        _print_error(exc)
        sys.exit(128 + exc.number)


def _print_error(end: BaseException) -> None:
    """Once, where several processes share a run (`accelerate launch`) and all come to the same end."""
    if os.environ.get("RANK", "0") == "0":
        print(f"copydesk: {end}", file=sys.stderr)


def _raise_interrupted(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)
