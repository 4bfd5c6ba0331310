"""The page."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from copydesk.errors import InputError
from copydesk.report import summarize, write_report
from copydesk.report.html import render

MakeRounds = Callable[..., list[dict[str, Any]]]
VOID = {"meta", "br", "img", "use", "path", "rect"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on one that is closed in the wrong order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(1 for name, _ in self.tags if name == tag)


def page_of(rounds: list[dict[str, Any]]) -> str:
    settings = {"task": "email", "train": {"lr": 3e-4}, "arms": ["sft", "dpo"]}
    return render(rounds, summarize(rounds, settings, {"train.sft": 18.25}))


def test_it_tells_the_whole_story(make_rounds: MakeRounds) -> None:
    page = Page(page_of(make_rounds()))
    words = re.search(r"People edit (\d+)%\s+less than before\.", page.text)
    assert words is not None and 60 < int(words[1]) < 75
    for title in (
        "Edit cost over the rounds",
        "Pulls of each arm",
        "Edit cost by kind of document",
        "Before and after",
    ):
        assert title in page.text
    assert page.count("svg") == 3
    assert page.count("article") == 3
    assert page.count("del") > 3 and page.count("ins") > 3
    for cell in ("Accepted", "Facts right", "Malformed", "88.0%", "train.lr", "0.0003", "sft, dpo", "18.25"):
        assert cell in page.text


def test_one_section_for_each_column_and_one_for_all(make_rounds: MakeRounds) -> None:
    page = Page(page_of(make_rounds(["email/strong", "summarization/weak"], [0, 1], 30)))
    assert page.count("svg") == 6
    for title in ("All tasks and users", "Max SubOpt", "Email, strong user", "Summarization, weak user"):
        assert title in page.text
    assert re.search(r"\d\.\d\d ± \d\.\d\d", page.text)


def test_nothing_is_fetched_or_run(make_rounds: MakeRounds) -> None:
    page = page_of(make_rounds(rounds=20))
    parsed = Page(page)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"https?:|url\((?!#)|@import", page)
    links = [
        value for _, attrs in parsed.tags for name, value in attrs.items() if name in ("href", "xlink:href", "src")
    ]
    assert all(link and link.startswith("#") for link in links)


@pytest.mark.parametrize("field", ["context", "response", "edit", "kind", "task", "user", "policy", "method", "taste"])
def test_text_from_logs_is_escaped(field: str, make_rounds: MakeRounds) -> None:
    attack = '<script>alert(1)</script>"$headline'
    rounds = make_rounds(rounds=6)
    changed = {"method": "sft", "policy": "late"}  # all rounds otherwise
    for played in rounds:
        if played["method"] == changed.get(field, played["method"]):
            played[field] = attack
    page = page_of(rounds)
    assert "<script" not in page
    assert "alert(1)" in page  # it is shown, as text


def test_settings_are_escaped(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(rounds=6)
    assert "<b>" not in render(rounds, summarize(rounds, {"<b>": "<b>", "x": {"<b>": ["<b>"]}}, {}))


def test_figures_have_words_and_tables_have_headers(make_rounds: MakeRounds) -> None:
    page = Page(page_of(make_rounds(rounds=20)))
    assert all(attrs.get("aria-label") and attrs["role"] == "img" for tag, attrs in page.tags if tag == "svg")
    assert all(attrs.get("scope") in ("row", "col") for tag, attrs in page.tags if tag == "th")
    assert page.count("figcaption") == page.count("figure") == 4


def test_without_base_or_late_there_is_still_a_page(make_rounds: MakeRounds) -> None:
    only = [played for played in make_rounds(rounds=20) if played["method"] == "sft"]
    page = Page(page_of(only))
    assert "How much people edit." in page.text
    assert page.count("svg") == 2
    assert page.count("article") == 0


def test_chat_contexts(make_rounds: MakeRounds) -> None:
    rounds = [
        {**played, "context": [{"role": "user", "content": f"Write to {played['t']}"}]}
        for played in make_rounds(rounds=9)
    ]
    assert "user: Write to " in Page(page_of(rounds)).text


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, make_rounds: MakeRounds) -> None:
    rounds = make_rounds(rounds=10)
    results = summarize(rounds, {}, {})
    write_report(tmp_path / "report.html", rounds, results)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(rounds, results)
    with pytest.raises(InputError):
        write_report(tmp_path / "no" / "report.html", rounds, results)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
