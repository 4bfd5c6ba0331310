r"""Escapes control characters in what is printed and logged, so that data cannot steer a terminal or forge a line.

Escaped are the control characters of ASCII and Unicode, the characters that change the direction of text, line and
paragraph separators, and halves of surrogate pairs: they appear as `\x1b` or `\u202e`.
"""

import logging
import re
import sys
from typing import TextIO

_HARMFUL = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff"
_HARMFUL_PATTERN = re.compile(f"[{_HARMFUL}]")
_LINE_PATTERN = re.compile(rf"[\n{_HARMFUL}]")


def escape_control_characters(text: str, *, one_line: bool = False) -> str:
    r"""Escape control characters in a text.

    Args:
        text: any text.
        one_line: whether to escape line ends (`\n`) as well.
    """
    return (_LINE_PATTERN if one_line else _HARMFUL_PATTERN).sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] in "\n\r":
        return repr(found[0])[1:-1]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class EscapingFormatter(logging.Formatter):
    """Formats a record as one line without control characters; a traceback follows indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return escape_control_characters(super().formatMessage(record), one_line=True)

    def formatException(self, ei: object) -> str:
        """A traceback, indented so that no line of it can be taken for another record."""
        text = escape_control_characters(super().formatException(ei))  # type: ignore[arg-type]
        return "\n".join(f"  {line}" for line in text.split("\n"))


def log_to_stream(name: str, level: int, stream: TextIO) -> None:
    """Write the records of a logger from this level on to a stream, unless it has a handler already."""
    log = logging.getLogger(name)
    log.setLevel(level)
    if not log.handlers:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(EscapingFormatter())
        log.addHandler(handler)


def escape_remaining_logs() -> None:
    """Escape control characters in the warnings of loggers without a handler, which Python prints to stderr."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(EscapingFormatter())


def print_error_line(text: str) -> None:
    """Print one line to stderr."""
    print(escape_control_characters(text, one_line=True), file=sys.stderr)
