"""Write the reference of the command line from the commands: one page for each, and one that lists them."""

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from copydesk.cli.app import app

FOLDER = "reference/cli"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages below the entry of the list in the navigation."""
    index = f"{FOLDER}/index.md"
    _expand(config.nav or [], index, [index, *(f"{FOLDER}/{name}.md" for name in _root().commands)])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, text in pages().items():
        files.append(File.generated(config, f"{FOLDER}/{name}.md", content=text))
    return files


def pages() -> dict[str, str]:
    """Markdown by the name of the page: `index`, and every command of the first level."""
    root = _root()
    rows = [f"| [`copydesk {name}`]({name}.md) | {_cell(_summary(one))} |" for name, one in root.commands.items()]
    index = [
        "# Command line",
        "Every command exits with 0 on success, and with 2 on bad input or wrong usage, after one line on stderr: what "
        "is wrong, where, and how to fix it. With `--json` it prints one JSON document on stdout, and nothing else. "
        "`-h` is short for `--help`, and `copydesk --version` prints the version.",
        "\n".join(["| command | does |", "|---|---|", *rows]),
    ]
    return {"index": "\n\n".join(index) + "\n"} | {
        name: "\n\n".join(_page(command, f"copydesk {name}", level=1)) + "\n" for name, command in root.commands.items()
    }


def _root() -> Any:
    return typer.main.get_command(app)


def _expand(entries: list[Any], index: str, under: list[str]) -> None:
    for entry in entries:
        for title, value in entry.items() if isinstance(entry, dict) else ():
            if value == index:
                entry[title] = under
            elif isinstance(value, list):
                _expand(value, index, under)


def _page(command: Any, name: str, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name}"
    yield from _prose(command.help or "")
    arguments = [one for one in command.params if one.param_type_name == "argument" and not one.hidden]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    inner = getattr(command, "commands", {})
    usage = [name, *map(_usage, arguments), *(["[OPTIONS]"] if options else [])]
    if inner:
        usage.append("[COMMAND]" if command.invoke_without_command else "COMMAND")
    yield f"```text\n{' '.join(usage)}\n```"
    if arguments:
        yield "**Arguments**"
        yield _table("argument", [(f"`{_word(one)}`", one) for one in arguments])
    for panel in dict.fromkeys(one.rich_help_panel or "Options" for one in options):
        yield f"**{panel}**"
        yield _table("option", [(_names(one), one) for one in options if (one.rich_help_panel or "Options") == panel])
    for word, one in inner.items():
        yield from _page(one, f"{name} {word}", level + 1)


def _usage(argument: Any) -> str:
    return _word(argument) if argument.required else f"[{_word(argument)}]"


def _word(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper() + ("..." if argument.nargs == -1 else ""))


def _prose(text: str) -> Iterator[str]:
    """The paragraphs of a help text; command lines are shown as such."""
    for paragraph in re.split(r"\n\s*\n|\n(?=copydesk )", text.strip()):
        joined = " ".join(paragraph.split())
        yield f"```sh\n{_break_lines(joined)}\n```" if joined.startswith("copydesk ") else _escape(joined)


def _break_lines(line: str, width: int = 76) -> str:
    """A command line, broken into several lines if it is long."""
    lines = [""]
    for part in re.split(r" (?=--)", line):
        lines[-1:] = [f"{lines[-1]} {part}".lstrip()] if len(lines[-1]) + len(part) < width else [lines[-1], part]
    return " \\\n    ".join(lines)


def _table(kind: str, params: list[tuple[str, Any]]) -> str:
    rows = [f"| {words} | {_description(one)} | {_default(one)} |" for words, one in params]
    return "\n".join([f"| {kind} | | default |", "|---|---|---|", *rows])


def _names(option: Any) -> str:
    return ", ".join(f"`{word}`" for word in [*option.opts, *option.secondary_opts])


def _description(param: Any) -> str:
    parts = [_cell(param.help or "")]
    if values := _values(param.type_descriptor.annotation):
        parts.append("One of " + ", ".join(f"`{value}`" for value in values) + ".")
    if param.envvar:
        parts.append(f"Also from the environment: `{param.envvar}`.")
    return " ".join(filter(None, parts))


def _values(annotation: Any) -> list[Any]:
    """The values of a `Literal`, also within `| None` or a list."""
    inside = get_args(annotation)
    return list(inside) if get_origin(annotation) is Literal else [value for one in inside for value in _values(one)]


def _default(param: Any) -> str:
    if param.required:
        return "*required*"
    if isinstance(param.show_default, str):
        return _cell(param.show_default)
    if not param.show_default or param.default in (None, False, "", (), []):
        return ""
    return "on" if param.default is True else f"`{param.default}`"


def _summary(command: Any) -> str:
    return re.split(r"\n\s*\n", (command.help or "").strip())[0]


def _cell(text: str) -> str:
    return _escape(" ".join(text.split())).replace("|", "\\|")


def _escape(text: str) -> str:
    """Escape Markdown in a text, except for its `code`."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if part[:1] == "`" else re.sub(r"([\\`*_<>\[\]])", r"\\\1", part) for part in parts)
