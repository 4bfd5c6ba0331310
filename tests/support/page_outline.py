"""The visible text and the structure of an HTML page, without its plots and styles: what golden files hold."""

import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path

_INLINE = {"em", "del", "ins", "small", "code", "b", "i", "span", "a", "strong"}
_VOID = {"meta", "br", "hr", "img", "input", "link"}


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._open: list[str] = []
        self._text = ""
        self._masked = 0  # how many elements of a plot or style sheet are open

    def outline(self, page: str) -> str:
        self.feed(page)
        self.close()
        self._end_line()
        assert not self._open, f"not closed: {self._open}"
        return "\n".join(self.lines) + "\n"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("svg", "style") and not self._masked:
            label = dict(attrs).get("aria-label")
            self._add_line(f"<{tag}>" + (f" {label}" if label else ""))
        if self._masked or tag in ("svg", "style"):
            self._masked += 1
            return
        written = tag + "".join(f" {name}={value!r}" for name, value in sorted(attrs, key=lambda one: one[0]))
        if tag in _INLINE or tag == "br":
            self._text += f"<{written}>"
        else:
            self._add_line(f"<{written}>")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._masked:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._masked:
            self._masked -= 1
            return
        if tag in _INLINE:
            self._text += f"</{tag}>"
        else:
            self._end_line()
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if not self._masked:
            self._text += escape(data, quote=False)

    def _add_line(self, text: str) -> None:
        self._end_line()
        self.lines.append("  " * sum(tag not in _INLINE for tag in self._open) + text)

    def _end_line(self) -> None:
        text, self._text = re.sub(r"\s+", " ", self._text).strip(), ""
        if text:
            self._add_line(text)


def outline_page(page: str) -> str:
    """One line for each block element and for each run of text; fails on elements that are not nested."""
    return _Outline().outline(page)


def check_golden_page(page: str, golden: Path, *, update: bool = False) -> None:
    """Compare the outline of a page with a file; to accept a change on purpose, pass `update=True` once."""
    found = outline_page(page)
    if update:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found, encoding="utf-8")
    assert found == golden.read_text(encoding="utf-8")
