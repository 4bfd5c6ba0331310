"""The `copydesk` command itself: its version, its help, and what wrong usage prints."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from copydesk.cli import main
from copydesk.cli.app import app


def iter_commands(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    yield words
    for word, inner in getattr(command, "commands", {}).items():
        yield from iter_commands(inner, *words, word)


COMMANDS = list(iter_commands(typer.main.get_command(app)))


def run_main(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["copydesk", *words])
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"copydesk {version('copydesk')}\n"


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_h_is_short_for_help(words: tuple[str, ...]) -> None:
    short, long = (CliRunner().invoke(app, [*words, option], prog_name="copydesk") for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.stdout == long.stdout
    assert " ".join(["Usage: copydesk", *words]) in short.stdout


@pytest.mark.parametrize(
    ("words", "command", "message"),
    [
        (["train", "--modle", "x"], "copydesk train", "no such option --modle; did you mean --model?"),
        (["train", "--xyzzy", "x"], "copydesk train", "no such option --xyzzy."),
        (["trian"], "copydesk", "no such command 'trian'; did you mean 'train'?"),
        (["bench", "papr"], "copydesk bench", "no such command 'papr'; did you mean 'paper'?"),
        (["train"], "copydesk train", "missing option --model."),
        (["bench", "paper", "--seeds"], "copydesk bench paper", "option --seeds requires an argument."),
        (["cost", "a", "b", "c"], "copydesk cost", "got unexpected extra argument(s) (c)."),
    ],
    ids=["a-close-option", "an-option", "a-command", "a-subcommand", "a-missing-option", "no-value", "an-extra-word"],
)
def test_wrong_usage_is_one_line_and_exits_with_2(
    words: list[str],
    command: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_main(monkeypatch, *words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"{command}: {message} See: {command} --help\n"


@pytest.mark.parametrize(("option", "value"), [("--epochs", "many"), ("--method", "magic")])
def test_a_wrong_value_names_its_option(
    option: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "train", option, value, "--model", "embedded", "--out", "x") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"copydesk train: invalid value for {option}: ")
    assert line.endswith(" See: copydesk train --help")
    assert "Value error" not in line and "Input" not in line


@pytest.mark.parametrize("words", [[], ["bench"], ["keys"]], ids=["none", "bench", "keys"])
def test_a_group_without_a_command_prints_its_help(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, *words) == 2
    printed = capsys.readouterr()
    assert "Usage: copydesk" in printed.out and "Commands" in printed.out
    assert printed.err == ""


def test_one_process_of_several_prints_the_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert run_main(monkeypatch, "trian") == 2
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_python_m_copydesk_is_the_same_command() -> None:
    command = [sys.executable, "-m", "copydesk", "cost", "--bogus"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 2
    assert done.stderr == "copydesk cost: no such option --bogus. See: copydesk cost --help\n"


def test_every_option_is_explained_in_a_sentence() -> None:
    short = []
    for words in COMMANDS:
        command: Any = typer.main.get_command(app)
        for word in words:
            command = command.commands[word]
        for param in command.params:
            text = " ".join((getattr(param, "help", None) or "").split())
            if not (text[:1].isupper() and text.endswith(".") and len(text.split()) >= 3):
                short.append(f"{' '.join(words)} {param.name}: {text!r}")
    assert short == []
