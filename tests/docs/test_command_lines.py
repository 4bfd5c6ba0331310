"""Every command line in the documentation, run or not, names commands, options and values that exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.support.fences import fences

from copydesk.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*/README.md"))]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT).with_suffix("")))
def test_every_command_line_names_what_exists(page: Path) -> None:
    for words in shell_lines(page):
        check(words)
    for words in inline_lines(page):
        check_names(words)


def test_the_examples_in_the_help_are_valid() -> None:
    commands = [(name, one) for name, one in tree(typer.main.get_command(app), "copydesk")]
    examples = [
        " ".join(paragraph.split())
        for _, command in commands
        for paragraph in re.split(r"\n\s*\n|\n(?=copydesk )", command.help or "")
        if paragraph.strip().startswith("copydesk ")
    ]
    assert examples
    for example in examples:
        check(shlex.split(example)[1:])


def tree(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for inner, one in getattr(command, "commands", {}).items():
        yield from tree(one, f"{name} {inner}")


def shell_lines(page: Path) -> Iterator[list[str]]:
    """The words after `copydesk` of every command line in the page's shell blocks."""
    for block in fences(page):
        if block.language not in ("sh", "bash", "console"):
            continue
        text = re.sub(r"<<'(\w+)'(.*?)\n.*?^\1$", r"\2", block.text, flags=re.DOTALL | re.MULTILINE)
        lines = text.replace("\\\n", " ").splitlines()
        if block.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in lines:
            yield from calls(line)


def calls(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    call: list[str] = []
    for word in [*lexer, ";"]:
        if re.fullmatch(r"[();|&]+", word):
            yield from after_name(call)
            call = []
        else:
            call.append(word)


def after_name(call: list[str]) -> Iterator[list[str]]:
    for place, word in enumerate(call):
        if word in ("copydesk", ".venv/bin/copydesk"):
            before = call[place - 1] if place else ""
            if place == 0 or before in ("-m", "do", "then", "time") or "=" in before:
                end = next((i for i, one in enumerate(call) if i > place and re.fullmatch(r"[<>&]+", one)), len(call))
                yield call[place + 1 : end]
            return


def inline_lines(page: Path) -> Iterator[list[str]]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for found in re.findall(r"`copydesk ([^`]+)`", text):
        yield shlex.split(found.replace("\\|", "|"))


def check(words: list[str]) -> None:
    """Parse a command line as the command itself would; `...` stands for options left out."""
    command, name, rest = resolve(words)
    given = [word for word in rest if word != "..."]
    try:
        command.make_context(name, given, resilient_parsing=given != rest).close()
    except Exception as exc:
        pytest.fail(f"copydesk {shlex.join(words)}: {getattr(exc, 'message', exc)}", pytrace=False)


def check_names(words: list[str]) -> None:
    command, name, rest = resolve(words)
    known = {one for param in command.params for one in [*param.opts, *param.secondary_opts]} | {"--help"}
    for word in rest:
        option = word.partition("=")[0]
        assert not option.startswith("--") or option in known, f"{name} has no {option}"


def resolve(words: list[str]) -> tuple[Any, str, list[str]]:
    """The command that the first words name, and the words that remain for it."""
    command, name = typer.main.get_command(app), "copydesk"
    while (inner := getattr(command, "commands", None)) and words and not words[0].startswith("-"):
        assert words[0] in inner, f"{name} has no command {words[0]}"
        command, name, words = inner[words[0]], f"{name} {words[0]}", words[1:]
    return command, name, words
