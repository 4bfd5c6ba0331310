"""The report as an HTML page."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from copydesk.errors import InputError
from copydesk.report import summarize_rounds, write_report
from copydesk.report.html import render_report_html

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
    return render_report_html(rounds, summarize_rounds(rounds, settings, {"train.sft": 18.25}))


def test_the_page_has_saving_plots_examples_and_settings(make_rounds: MakeRounds) -> None:
    page = Page(page_of(make_rounds()))
    words = re.search(r"A simulated user edits (\d+)%\s+less than before\.", page.text)
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


TITLES = ("All tasks and users", "Beside the paper", "Users who are not those of the log", "What it depends on")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (["email/strong"], [False, True, False, False]),
        (["email/mine"], [False, False, False, False]),
        (["prelude-email/strong", "code/strong"], [True, True, False, False]),
        (["email/mine", "email/strong-to-weak"], [False, False, True, False]),
        (["email/strong-then-weak"], [False, False, True, False]),
        (["email/mine-n20", "email/mine-n50"], [False, False, False, True]),
        (["email/mine", "email/p0.5"], [False, False, False, True]),
    ],
)
def test_sections_without_content_are_left_out(columns: list[str], shown: list[bool], make_rounds: MakeRounds) -> None:
    page = Page(page_of(make_rounds(columns, rounds=9))).text
    assert [title in page for title in TITLES] == shown


def test_only_plain_columns_have_sections_of_their_own(make_rounds: MakeRounds) -> None:
    page = page_of(make_rounds(["email/a", "email/a-to-b", "email/a-n50", "email/p0.5"], rounds=9))
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == ["Email, a user", "Users who are not those of the log", "What it depends on"]


def test_many_columns_are_counted_and_not_listed(make_rounds: MakeRounds) -> None:
    columns = ["email/a", "email/b", "email/a-to-b", "email/p0.5", "email/p0.6"]
    page = Page(page_of(make_rounds(columns, rounds=3))).text
    assert "2 columns of a task and a user, 1 with users who are not those of the log, 2 points of sweeps" in page


def test_the_posters_figures_are_below_ours(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(["email/strong", "summarization/weak"], [0, 1], 30)
    for played in rounds:  # no single policy is the best everywhere
        if played["user"] == "weak" and played["method"] == "sft":
            played["cost"] += 0.5
    results = summarize_rounds(rounds, {}, {})
    page = render_report_html(rounds, results)
    beside = page[page.index("Beside the paper") :]
    ours = results["cells"]["email/strong"]["dpo"]
    assert f"{ours['mean']:.2f} ± {ours['std']:.2f}<br><small>0.34 ± 0.00</small>" in beside
    assert "<small>0.87 ± 0.11</small>" in beside  # Max SubOpt of DPO
    robust = results["robustness"]["early"]
    assert f"<td>{robust['mean']:.2f} ± {robust['std']:.2f}</td><td>0.28</td>" in beside


def test_each_rule_has_its_regret_beside_the_best_single_arm(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(["email/a-then-b"], [0, 1], 30, lates=["late", "late-thompson"])
    results = summarize_rounds(rounds, {}, {})
    page = render_report_html(rounds, results)
    for label, method in (("Late ensemble", "late"), ("Late, Thompson", "late-thompson")):
        cell = results["regret"]["email/a-then-b"][method]["regret"]
        assert f"{label}</td><td>{cell['mean']:.2f} ± {cell['std']:.2f}</td>".replace("<td>-", "<td>−") in page
    assert "The user changes after round 15." in page


def test_sweeps_say_where_methods_cross(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(["email/p0.2", "email/p0.6"], rounds=9)
    costs = {("sft", "p0.2"): 0.9, ("sft", "p0.6"): 0.1, ("dpo", "p0.2"): 0.5, ("dpo", "p0.6"): 0.5}
    rounds = [
        {**played, "cost": costs[played["method"], played["user"]]}
        for played in rounds
        if played["method"] in ("sft", "dpo")
    ]
    page = Page(page_of(rounds))
    assert "SFT and DPO cross at p\u00a0≈\u00a00.40; beyond that SFT is cheaper" in page.text
    assert page.count("svg") == 1


def test_measures_that_rounds_lack_are_left_out(make_rounds: MakeRounds) -> None:
    measures = ("accepted", "length", "malformed", "distance", "facts")
    rounds = [
        {name: value for name, value in played.items() if name not in measures}
        for played in make_rounds(["email/strong", "email/strong-to-weak", "email/p0.5"], rounds=9)
    ]
    page = Page(page_of(rounds)).text
    assert "Accepted" in page
    assert "Facts right" not in page and "Malformed" not in page


def test_shifted_columns_bring_max_subopt_over_all_columns(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(["email/strong", "email/strong-to-weak"], rounds=9)
    for played in rounds:
        played["cost"] += (played["method"], played["user"]) == ("sft", "strong-to-weak")  # else it is best everywhere
    shifted = Page(page_of(rounds)).text
    assert "Max SubOpt, all columns" in shifted
    assert "divided by that of the best method of a single feedback" in shifted
    assert "all columns" not in Page(page_of(make_rounds(["email/strong", "email/weak"], rounds=9))).text


def test_every_late_ensemble_shows_what_it_played(make_rounds: MakeRounds) -> None:
    page = Page(page_of(make_rounds(rounds=9, lates=["late-thompson"]))).text
    assert "Pulls of each arm: Late, Thompson" in page
    assert "After: Late, Thompson, which played " in page


@pytest.mark.slow
@pytest.mark.parametrize("column", ["{}/mine", "x/{}", "x/{}-to-b", "x/a-then-{}", "x/{}-n5"])
def test_the_names_of_columns_are_escaped(column: str, make_rounds: MakeRounds) -> None:
    name = column.format("<b>q&amp;")
    rounds = make_rounds([name, name + "0"], [0, 1], 6, lates=["late", "late-<i>"])
    page = page_of(rounds)
    assert "<b>q" not in page and "<i>" not in page and "&lt;b&gt;q&amp;amp;" in page.lower()


def test_nothing_is_fetched_or_run(make_rounds: MakeRounds) -> None:
    page = page_of(make_rounds(rounds=20))
    parsed = Page(page)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"https?:|url\((?!#)|@import", page)
    links = [
        value for _, attrs in parsed.tags for name, value in attrs.items() if name in ("href", "xlink:href", "src")
    ]
    assert all(link and link.startswith("#") for link in links)


@pytest.mark.slow
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
    assert "<b>" not in render_report_html(rounds, summarize_rounds(rounds, {"<b>": "<b>", "x": {"<b>": ["<b>"]}}, {}))


@pytest.mark.slow
def test_plots_have_labels_and_tables_have_headers(make_rounds: MakeRounds) -> None:
    page = Page(page_of(make_rounds(rounds=20)))
    assert all(attrs.get("aria-label") and attrs["role"] == "img" for tag, attrs in page.tags if tag == "svg")
    assert all(attrs.get("scope") in ("row", "col") for tag, attrs in page.tags if tag == "th")
    assert page.count("figcaption") == page.count("figure") == 5


def test_without_base_or_late_there_is_still_a_page(make_rounds: MakeRounds) -> None:
    only = [played for played in make_rounds(rounds=20) if played["method"] == "sft"]
    page = Page(page_of(only))
    assert "How much simulated users edit." in page.text
    assert page.count("svg") == 2
    assert page.count("article") == 0


def test_chat_contexts_are_shown_as_text(make_rounds: MakeRounds) -> None:
    rounds = [
        {**played, "context": [{"role": "user", "content": f"Write to {played['t']}"}]}
        for played in make_rounds(rounds=9)
    ]
    assert "user: Write to " in Page(page_of(rounds)).text


def test_white_space_in_examples_is_kept(make_rounds: MakeRounds) -> None:
    text = "\n one  two\n\n\tthree \n"
    rounds = [{**one, "context": text, "response": text, "edit": text + "four"} for one in make_rounds(rounds=9)]
    page = page_of(rounds)
    assert f'<div class="prose" tabindex="0">{text}</div>' in page
    assert f'<div class="prose">{text}<ins>four</ins></div>' in page


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path, make_rounds: MakeRounds) -> None:
    rounds = make_rounds(rounds=10)
    results = summarize_rounds(rounds, {}, {})
    write_report(tmp_path / "report.html", rounds, results)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report_html(rounds, results)
    with pytest.raises(InputError):
        write_report(tmp_path / "no" / "report.html", rounds, results)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
