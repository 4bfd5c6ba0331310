"""What a command that was run in a test said."""

from click.testing import Result

from copydesk.errors import InputError


def fault_of(result: Result) -> str:
    """The one line of a command that refused bad input; it printed nothing else."""
    assert isinstance(result.exception, InputError), result.output
    assert result.stdout == ""
    assert "\n" not in str(result.exception)
    return str(result.exception)
