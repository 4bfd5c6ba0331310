"""What a command that was run in a test said."""

import json
from typing import Any

from click.testing import Result

from copydesk.errors import InputError


def error_of(result: Result) -> str:
    """The one line of a command that refused bad input; it printed nothing else."""
    assert isinstance(result.exception, InputError), result.output
    assert result.stdout == ""
    assert "\n" not in str(result.exception)
    return str(result.exception)


def document_of(result: Result) -> dict[str, Any]:
    """The JSON document of a command that did what it was asked to."""
    assert result.exit_code == 0, result.output
    read: dict[str, Any] = json.loads(result.stdout)
    return read
