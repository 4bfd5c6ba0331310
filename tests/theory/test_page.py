"""The lab's page: its sections, plots and sentences."""

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from copydesk.errors import InputError
from copydesk.theory.experiments import (
    SINGLE_FEEDBACK_LEARNERS,
    SlopeEstimate,
    SlopeFit,
    measure_curves,
    measure_grid,
    measure_regret,
)
from copydesk.theory.lab import FixedPoint, LabSetting
from copydesk.theory.page import render_study_html, write_study_page
from copydesk.theory.study import Study
from copydesk.theory.text import is_ratio_defined

SECTIONS = [
    "How many edits it takes",
    "Without a policy class",
    "Which method wins where",
    "Effect of coverage and edit quality",
    "The late ensemble's regret",
    "The user",
]


class Page(HTMLParser):
    """The text, the section heads and the number of plots; fails on a tag that is closed in the wrong order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.heads: list[str] = []
        self.text = ""
        self.plots = 0
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.plots += tag == "svg"
        if tag not in ("meta", "path", "use"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "path", "use"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open[-1:] == ["h2"]:
            self.heads.append(data)


def fit(axis: str, where: str, ratio: tuple[float, float, float], divisor: float = 0.1) -> SlopeFit:
    """A fit whose ratio is this, and whose slope to divide by is at least `divisor`."""
    larger, smaller = ("dpo", "sft") if axis == "coverage" else ("sft", "dpo")
    slope = {larger: SlopeEstimate(ratio[0], ratio[1], ratio[2]), smaller: SlopeEstimate(1, divisor, 2)}
    return SlopeFit(100, axis, where, slope, SlopeEstimate(*ratio))


HOLDS = fit("coverage", "strong users, p ≥ 0.9", (2, 1.5, 3))
FAILS = fit("coverage", "weak users, p ≤ 0.4", (0.4, 0.2, 0.8))
OPEN = fit("coverage", "all users", (1.2, 0.7, 1.9))
QUALITY = fit("quality", "all coverages", (5, 3, 9))


def study_of(slopes: Sequence[SlopeFit] = (HOLDS, FAILS, OPEN, QUALITY)) -> Study:
    anchor = FixedPoint(1.0, 1.0, "no costs", 1e-13, 60, 1e-9)
    return Study(
        repeats=2,
        seed=0,
        curves=[measure_curves(LabSetting(0.4, 6.0), 2, 0, lengths=(30, 100))],
        grids=[measure_grid(30, 2, 0, attentions=(0.4, 1.0), divergences=(1.0, 6.0))],
        slopes=list(slopes),
        regrets=[measure_regret(LabSetting(0.4, 6.0), 30, 2, 0)],
        fixed_points=[anchor],
    )


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of()


@pytest.fixture(scope="module")
def html(study: Study) -> str:
    return render_study_html(study)


def test_it_has_every_section_and_every_plot(html: str) -> None:
    page = Page(html)
    assert page.heads == SECTIONS
    assert page.plots == 1 + 1 + 3 + 1 + 1
    assert "SubOpt is J_β(π) − J_β(π*)" in page.text


def test_the_page_is_self_contained(html: str) -> None:
    assert "http" not in html and "<script" not in html and "src=" not in html and "@import" not in html
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", html))
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn))
    assert all(colour in ("none", "currentColor") or colour.startswith("var(--") for colour in colours), colours
    for name in re.findall(r"var\((--method-[^),]*)", drawn):
        assert f"{name}: #" in html  # the page has a light and a dark colour for it


def test_the_same_study_gives_the_same_bytes(study: Study, html: str) -> None:
    assert render_study_html(study) == html


def test_the_headline_counts_the_winners_of_the_maps(study: Study, html: str) -> None:
    headline = re.search(r"<h1>(.*?)</h1>", html)
    assert headline is not None
    words = re.sub(r"</?em>", "", headline[1])
    labels = {"SFT": "sft", "DPO": "dpo", "RL": "rl"}
    counts = {labels[name]: int(count) for name, count in re.findall(r"(SFT|DPO|RL) (?:wins )?in (\d+)", words)}
    (grid,) = study.grids
    assert counts == {name: int((grid.winner == k).sum()) for k, name in enumerate(SINGLE_FEEDBACK_LEARNERS)}
    assert f"of {grid.winner.size} settings" in words
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


def test_the_page_counts_broken_bounds(study: Study, html: str) -> None:
    assert "SFT's bound was broken in 0 of 4 logs, DPO's in 0, RL's in 0: 0.0% of all" in Page(html).text
    (curves,) = study.curves
    low = {**curves.bounds, "dpo": np.array([0.0, curves.bounds["dpo"][1]])}
    measured = {**curves.measured, "dpo": np.full((2, 2), 1e-6)}
    text = Page(render_study_html(replace(study, curves=[replace(curves, bounds=low, measured=measured)]))).text
    assert "SFT's bound was broken in 0 of 4 logs, DPO's in 2, RL's in 0: 16.7% of all, where δ allows 5%." in text


def test_the_sentences_about_slopes_follow_the_intervals(study: Study, html: str) -> None:
    text = Page(html).text
    assert (
        "“DPO suffers more from poor coverage than SFT”: of 3 fits, this holds in 1 (strong users, p ≥ 0.9), "
        "does not hold in 1 (weak users, p ≤ 0.4), is open in 1 (all users)." in text
    )
    assert "“SFT suffers more from poor edits than DPO”: of 1 fits, this holds in 1 (all coverages)." in text
    assert "Why coverage affects SFT" in text
    other = Page(
        render_study_html(replace(study, slopes=[fit("quality", "good coverage", (0.5, 0.2, 0.9)), HOLDS]))
    ).text
    assert "of 1 fits, this does not hold in 1 (good coverage)." in other
    assert "“DPO suffers more from poor coverage than SFT”: of 1 fits, this holds in 1" in other
    assert "Why coverage affects SFT" not in other


def test_a_user_who_attends_to_an_exact_number_has_curves_of_their_own(study: Study) -> None:
    exact = measure_curves(LabSetting(0.4, 6.0, exact=True), 2, 0, lengths=(30, 100))
    page = Page(render_study_html(replace(study, curves=[exact, *study.curves])))
    assert "A user who attends to exactly 2 of 5 preferences in each edit: γ_min = 0.000" in page.text
    assert "A user who attends to each preference with probability p = 0.4: γ_min = 0.009" in page.text
    assert page.text.count("exactly 2 of 5, coverage poor (6 nats)") == 1  # not among the plots without a class
    assert page.plots == 2 + 1 + 3 + 1 + 1


def test_an_undefined_ratio_is_neither_drawn_nor_printed(study: Study) -> None:
    unsure = fit("coverage", "weak users, p ≤ 0.4", (7, -40, 90), divisor=-0.01)
    assert not is_ratio_defined(unsure)
    page = render_study_html(replace(study, slopes=[HOLDS, unsure]))
    assert "Left out: 1 of 2" in page and "the intervals of the two slopes are compared" in page
    assert "7.00 (" not in page and "2.00 (1.50 to 3.00)" in page
    (drawn,) = re.findall(r'<svg[^>]*aria-label="Interval plot.*?</svg>', page, flags=re.DOTALL)
    assert "strong users" in drawn and "weak users" not in drawn
    alone = render_study_html(replace(study, slopes=[unsure]))
    assert "Interval plot" not in alone and "is open in 1" in alone


@pytest.mark.filterwarnings("error")
def test_zero_suboptimality_and_infinite_bounds_can_be_drawn(study: Study) -> None:
    (curves,) = study.curves
    nothing = {name: np.zeros((2, 2)) for name in curves.measured}
    endless = {name: np.full(2, np.inf) for name in curves.bounds}
    page = render_study_html(replace(study, curves=[replace(curves, measured=nothing, bounds=endless)]))
    assert "Bounds above 1,000 lie outside the plots." in page
    assert not re.search(r"\b(nan|inf)\b", page)


def test_the_fixed_points_are_counted(study: Study) -> None:
    def anchors(divergence: float, *distances: float, residual: float = 1e-13) -> list[FixedPoint]:
        return [
            FixedPoint(0.8, divergence, f"start {k}", residual, 10, distance) for k, distance in enumerate(distances)
        ]

    found = [*anchors(1, 0, 1e-10), *anchors(3, 0.5, 0.5), *anchors(5, 0, 0.4), *anchors(6, 0.3, 0.2, residual=0.1)]
    text = Page(render_study_html(replace(study, fixed_points=found))).text
    assert "In 1 of 4 settings every start leads to the setting's own π* (p = 0.8, 1 nat)." in text
    assert "In 2 of 4 there are several fixed points" in text and "(p = 0.8, 3 nats; p = 0.8, 5 nats)" in text
    assert "In 1 of them the distances of the starts also differ" in text
    assert "In 1 some start did not converge (p = 0.8, 6 nats)." in text


def test_the_file_is_written_whole_or_not_at_all(study: Study, html: str, tmp_path: Path) -> None:
    write_study_page(tmp_path / "theory.html", study)
    assert (tmp_path / "theory.html").read_text(encoding="utf-8") == html
    with pytest.raises(InputError, match=r"there is no folder"):
        write_study_page(tmp_path / "nowhere" / "theory.html", study)
    assert [path.name for path in tmp_path.iterdir()] == ["theory.html"]
