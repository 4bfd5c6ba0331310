"""What an edit changed, word by word."""

import re
from html import escape
from itertools import groupby
from typing import Literal

from rapidfuzz.distance import Indel
from rich.text import Text

Segment = tuple[Literal["equal", "delete", "insert"], str]

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


def compute_diff(response: str, edit: str) -> list[Segment]:
    """The segments that lead from `response` to `edit`, in reading order, what was deleted before what was inserted.

    Nothing is lost: equal and deleted segments joined are the response, equal and inserted ones the edit, white space
    included. A space alone between two changes counts as changed, so that a rewritten phrase reads as one; a line break
    does not, so that paragraphs stay paragraphs.
    """
    segments: list[Segment] = []
    for changed, blocks in groupby(_align_tokens(response, edit), key=lambda block: block[0]):
        _, olds, news = zip(*blocks, strict=True)
        old, new = "".join(olds), "".join(news)
        if not changed:
            segments.append(("equal", old))
            continue
        if old:
            segments.append(("delete", old))
        if new:
            segments.append(("insert", new))
    return segments


def _align_tokens(response: str, edit: str) -> list[tuple[bool, str, str]]:
    """Aligned blocks (changed?, old text, new text) along a longest common subsequence of the tokens."""
    before, after = _TOKEN.findall(response), _TOKEN.findall(edit)
    steps = list(Indel.opcodes(before, after))
    blocks = []
    for i, step in enumerate(steps):
        old = "".join(before[step.src_start : step.src_end])
        new = "".join(after[step.dest_start : step.dest_end])
        gap = old.isspace() and "\n" not in old and 0 < i < len(steps) - 1
        blocks.append((step.tag != "equal" or gap, old, new))
    return blocks


def render_diff_html(response: str, edit: str) -> str:
    """The difference as HTML: `<del>` and `<ins>` around what changed, all text escaped."""
    tags = {"equal": "{}", "delete": "<del>{}</del>", "insert": "<ins>{}</ins>"}
    return "".join(tags[tag].format(escape(text)) for tag, text in compute_diff(response, edit))


def render_diff_plain(response: str, edit: str) -> str:
    """The difference for where there is no colour: `[-deleted-]{+inserted+}`."""
    marks = {"equal": ("", ""), "delete": ("[-", "-]"), "insert": ("{+", "+}")}
    return "".join(marks[tag][0] + text + marks[tag][1] for tag, text in compute_diff(response, edit))


def render_diff_rich(response: str, edit: str) -> Text:
    """The difference for a terminal: deleted words red and struck through, inserted ones green and underlined."""
    styles = {"equal": "", "delete": "strike red", "insert": "underline green"}
    return Text.assemble(*((text, styles[tag]) for tag, text in compute_diff(response, edit)))
