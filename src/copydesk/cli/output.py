"""What a command prints: one JSON document for programs, or something rendered for people."""

import json
from typing import Any

from rich.console import Console, RenderableType


def emit(document: dict[str, Any], rendered: RenderableType, *, as_json: bool) -> None:
    """Print a command's result on stdout.

    Args:
        document: the result as JSON values; printed alone when `as_json`. Non-ASCII text is escaped, so that the
            document survives every terminal and pipe.
        rendered: the same for people. Text in it is shown as it is: nothing is read as Rich markup.
        as_json: whether a program is reading.
    """
    if as_json:
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        Console(markup=False, highlight=False, emoji=False).print(rendered)
