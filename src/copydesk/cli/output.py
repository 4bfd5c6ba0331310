"""What a command prints: one JSON document for programs, or something rendered for people."""

import json
import logging
import sys
from typing import Any

from rich.console import Console, RenderableType


def emit(document: dict[str, Any], rendered: RenderableType, *, as_json: bool) -> None:
    """Print a command's result on stdout.

    Args:
        document: the result as JSON values; printed alone when `dump_json_line`. Non-ASCII text is escaped, so that the
            document survives every terminal and pipe.
        rendered: the same for people. Text in it is shown as it is: nothing is read as Rich markup.
        as_json: whether a program is reading.
    """
    if as_json:
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        Console(markup=False, highlight=False, emoji=False).print(rendered)


def log_to_stderr(name: str) -> None:
    """Show on stderr, as plain lines, what the part of the library with this name has to say, and nothing else."""
    log = logging.getLogger(name)
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler(sys.stderr))
