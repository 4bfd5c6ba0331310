"""The `copydesk` command: its subcommands, exit codes and error messages."""

import difflib
import os
import re
import signal
import sys
from importlib.metadata import version
from types import FrameType
from typing import Annotated, Any

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
from copydesk.utils.terminal import escape_remaining_logs, print_error_line

app = typer.Typer(
    name="copydesk",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

_ClickException: Any = typer.BadParameter.mro()[2]  # the base of all usage errors, which Typer does not export


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"copydesk {version('copydesk')}")
        raise typer.Exit


@app.callback()
def root_callback(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
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

    Exits 0 on success, 2 with one line on stderr on bad input or wrong usage, and 130 or 143 when interrupted or
    terminated.
    """
    escape_remaining_logs()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise_interrupted)
    try:
        code = app(prog_name="copydesk", standalone_mode=False)
    except InputError as exc:
        _print_error(f"copydesk: {exc}")
        sys.exit(2)
    except Interrupted as exc:
        _print_error(f"copydesk: {exc}")
        sys.exit(128 + exc.number)
    except typer.Abort:
        _print_error("copydesk: aborted")
        sys.exit(1)
    except _ClickException as exc:
        _print_error(describe_usage_error(exc))
        sys.exit(exc.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def describe_usage_error(error: Any) -> str:
    """One line: the command, what is wrong, the option or command that was probably meant, and where to read more.

    Args:
        error: an exception of Click, usually a `UsageError`.
    """
    text = " ".join(error.format_message().split())
    if not text:
        return ""  # a command group without a command: its help is printed already
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context is not None else _find_command_path(sys.argv[1:])
    unknown = error.option_name if context is not None and text.startswith("No such option") else ""
    if unknown:
        options = context.command.params
        known = {name.lstrip("-"): name for option in options for name in (*option.opts, *option.secondary_opts)}
        close = difflib.get_close_matches(unknown.lstrip("-"), known, n=1)
        text = f"no such option {unknown}" + (f"; did you mean {known[close[0]]}?" if close else "")
    text = re.sub(r"'(--?[\w-]+)'", r"\1", text).replace("Value error, ", "").replace(". Did you", "; did you")
    text = re.sub(r"(?:^|(?<=: ))[A-Z](?=[a-z])", lambda found: found[0].lower(), text)
    return f"{command}: {text}{'' if text[-1] in '.?' else '.'} See: {command} --help"


def _find_command_path(words: list[str]) -> str:
    """The command that some arguments name, such as `copydesk bench paper`."""
    path, command = ["copydesk"], typer.main.get_command(app)
    for word in words:
        inner = getattr(command, "commands", {}).get(word)
        if inner is None:
            break
        path, command = [*path, word], inner
    return " ".join(path)


def _print_error(text: str) -> None:
    """Print once, also where several processes of one run (`accelerate launch`) end with the same error."""
    if text and os.environ.get("RANK", "0") == "0":
        print_error_line(text)


def _raise_interrupted(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)
