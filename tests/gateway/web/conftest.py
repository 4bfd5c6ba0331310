"""What the tests of the pages look for in HTML."""

from collections.abc import Callable
from html.parser import HTMLParser

import httpx
import pytest

from copydesk.gateway.web import DOCUMENTATION_URL

EVIL = "<script>alert('x')</script>\"'; DROP TABLE edits; -- <img src=x onerror=alert(1)> {{ 7 * 7 }} & \u202e"
"""What an untrusted text may hold."""


class Found(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def look(response: httpx.Response) -> Found:
    """A page, once it is sure that it keeps to the content security policy, and that nobody keeps it."""
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert "unsafe" not in response.headers["content-security-policy"]
    found = Found(response.text)
    for tag, attrs in found.tags:
        assert tag != "style", "an inline style sheet"
        assert not [name for name in attrs if name == "style" or name.startswith("on")], (tag, attrs)
        if tag == "script":
            assert str(attrs["src"]).startswith("/static/")
        for name in ("href", "src", "action"):
            value = str(attrs.get(name) or "")
            documentation = tag == "a" and value == DOCUMENTATION_URL and attrs.get("rel") == "noreferrer"
            assert documentation or not value.startswith(("javascript:", "//", "http:", "https:")), (tag, attrs)
    assert found.all("html") == [{"lang": "en"}]
    assert len(found.all("h1")) == len(found.all("main")) == len(found.all("title")) == 1
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    return found


@pytest.fixture
def seen() -> Callable[[httpx.Response], Found]:
    return look


@pytest.fixture
def evil() -> str:
    return EVIL
