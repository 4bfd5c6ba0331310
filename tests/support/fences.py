"""The fenced blocks of a Markdown page."""

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n+)?^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Fence:
    """One block: the line its text begins on, its language, its text, and the HTML comment right above it."""

    line: int
    language: str
    text: str
    note: str


def fences(page: Path) -> list[Fence]:
    """The blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Fence(text.count("\n", 0, found.start("text")) + 1, found["language"], found["text"], found["note"] or "")
        for found in _FENCE.finditer(text)
    ]
