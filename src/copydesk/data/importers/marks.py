"""Which commits a machine wrote: their messages say so."""

import re
from collections.abc import Iterable

from copydesk.errors import InputError

MACHINE_COMMIT_PATTERNS = (
    r"^(?:ai-)?(?:assisted|generated)-(?:by|with):",
    r"^co-(?:authored|developed)-by:(?!.*\b(?:dependabot|renovate|github-actions|pre-commit)\b)"
    r".*(?:\[bot\]|\bbot\b|\bAI\b|<noreply@|copilot|codex|cursor|devin|gemini|\bgpt)",
    r"\b(?:generated|written) (?:by|with) (?:an? )?(?:AI|LLM|bot|copilot|language model)\b",
)
"""Lines of a message that mark a commit as written by a machine: the usual trailers and phrases. Bots that only raise
the versions of dependencies are not meant."""


def compile_commit_pattern(expression: str) -> re.Pattern[str]:
    """A mark as it is searched for.

    Raises:
        InputError: it is no regular expression.
    """
    try:
        return re.compile(expression, re.IGNORECASE | re.MULTILINE)
    except re.error as fault:
        raise InputError(f"{expression!r} is not a regular expression ({fault}); mend it or leave it out") from None


def match_machine_commit(message: str, marks: Iterable[re.Pattern[str]]) -> re.Match[str] | None:
    """Where a message says that a machine wrote the commit."""
    return next((found for mark in marks if (found := mark.search(message))), None)


def parse_trailer_policy(mark: re.Match[str]) -> str | None:
    """What a marking trailer names, without the address behind it; nothing where it is a phrase."""
    line = mark.string[mark.string.rfind("\n", 0, mark.start() + 1) + 1 :].split("\n", 1)[0]
    found = re.fullmatch(r"[\w-]+:\s*(.*?)\s*(?:<[^<>]*>)?\s*", line)
    return (found[1] or None) if found else None
