"""Word-level difference between a response and its edit.

`gateway/web/static/diff.js` computes the same segments in the browser, for drafts that are still being edited; a change
of the rules here needs the same change there.
"""

import re
from itertools import groupby
from typing import Literal

from rapidfuzz.distance import Indel
from rich.text import Text

Segment = tuple[Literal["equal", "delete", "insert"], str]

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


def compute_diff(response: str, edit: str) -> list[Segment]:
    """Compute the segments that lead from a response to its edit.

    A single space between two changes counts as changed, so that a rewritten phrase is one segment; a line break does
    not, so that paragraphs stay apart.

    Args:
        response: the text before.
        edit: the text after.

    Returns:
        Segments in reading order, deletions before insertions. Equal and deleted segments joined are the response,
        equal and inserted ones the edit, white space included.
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


def render_diff_plain(response: str, edit: str) -> str:
    """Render the difference without colour: `[-deleted-]{+inserted+}`."""
    marks = {"equal": ("", ""), "delete": ("[-", "-]"), "insert": ("{+", "+}")}
    return "".join(marks[tag][0] + text + marks[tag][1] for tag, text in compute_diff(response, edit))


def render_diff_rich(response: str, edit: str) -> Text:
    """Render the difference for a terminal: deletions red and struck through, insertions green and underlined."""
    styles = {"equal": "", "delete": "strike red", "insert": "underline green"}
    return Text.assemble(*((text, styles[tag]) for tag, text in compute_diff(response, edit)))
