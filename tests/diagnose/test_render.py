"""The page and the terminal text of a diagnosis, beside golden files."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tests.support.page_outline import check_golden_page, outline_page

from copydesk.diagnose.advice import AdviceInputs, advise
from copydesk.diagnose.cautions import find_cautions
from copydesk.diagnose.diagnose import Diagnosis
from copydesk.diagnose.edits import (
    EditConsistency,
    EditPosition,
    Rewrite,
    RewriteApplication,
    RewriteSummary,
)
from copydesk.diagnose.privacy import Leak, Leaks
from copydesk.diagnose.quality import Coverage, EditQuality, RepeatedEdits
from copydesk.diagnose.render import LogOrigin, render_diagnosis_html, render_diagnosis_terminal
from copydesk.diagnose.statistics import CostDistribution, Drift, LogCounts

GOLDEN = Path(__file__).parent / "golden"
LOG = LogOrigin("a <log>.jsonl", ("--data", "a <log>.jsonl"))
COUNTS = LogCounts(rows=220, pending=20, accepted=80, edited=120, users=2, named=200, largest_user=150, policies=1)
COSTS = CostDistribution(
    metric="levenshtein-word/response",
    mean=0.25,
    median=0.2,
    quantiles=((0.5, 0.2), (0.9, 0.6), (0.99, 1.5)),
    edges=(0.0, 0.5, 1.0),
    bars=(150, 50),
)
CONSISTENCY = EditConsistency(
    rows=200,
    mean=0.75,
    low=0.7,
    high=0.8,
    covered=0.5,
    distinct=2,
    vocabulary=1000,
    applications=(
        RewriteApplication("Dear", "Hi <there>", 30, 35, 40),
        RewriteApplication("now", "", 1200, 1250, 1500),
    ),
)
COVERAGE = Coverage(
    model="m & n",
    rows=50,
    cut=3,
    edit=-90.25,
    response=-80.25,
    edit_per_token=-0.75,
    response_per_token=-2.5,
    margin=-10.0,
    margin_scale=12.5,
    rare=0.1,
    ess=0.5,
    overlap=0.25,
    own_per_token=-0.5,
    foreign=True,
)
LEAKS = Leaks(7, None, (Leak("e-mail address", 3, "edit", "a…"),))


def make_full_diagnosis() -> Diagnosis:
    """Every part of a diagnosis, with figures that are far from where rounding turns."""
    return Diagnosis(
        counts=COUNTS,
        costs=COSTS,
        where=EditPosition((0.4, *[0.1] * 6, 0.0, 0.0, 0.0), 300, "Edits are mostly at the beginning."),
        rewrites=RewriteSummary(
            (
                Rewrite("Dear", "Hi <there>", 30, 29, 2, 7, ("Dear <b>x</b>", "Hi <there> <b>x</b>")),
                Rewrite("now", "", 12, 1200, 0, 9, ("for now", "for")),
                Rewrite("", "please", 2, 2, 1, 11, ("do it", "please do it")),
            ),
            changes=1300,
            long=17,
            exact=True,
        ),
        drift=Drift("order", (0.5, 0.4, 0.3, 0.3, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1), -0.4, -0.5, -0.3, "The cost falls."),
        quality=EditQuality(0.875, 0.25, CONSISTENCY, RepeatedEdits(30, 0.4, 0.1, 0.25)),
        coverage=COVERAGE,
        leaks=LEAKS,
        duplicates=4,
        cautions=find_cautions(COUNTS, (4, [9, 12, 13]), LEAKS, 0.25, COVERAGE),
        advice=advise(
            AdviceInputs(
                rows=200, edited=120, mean_cost=0.25, high_cost=1.5, consistency=0.75, covered=0.5, reedit_rows=30,
                reedit_left=0.25, distinct=2, vocabulary=1000, ess=0.5, margin_scale=12.5, near_identical=0.25,
            )
        ),
    )  # fmt: skip


def make_empty_diagnosis() -> Diagnosis:
    """A log in which nobody edited anything and no edit is known."""
    full = make_full_diagnosis()
    counts = LogCounts(rows=3, pending=3, accepted=0, edited=0, users=0, named=0, largest_user=0, policies=0)
    return replace(
        full,
        counts=counts,
        costs=replace(COSTS, mean=None, median=None, quantiles=(), edges=(), bars=()),
        where=EditPosition((), 0, ""),
        rewrites=RewriteSummary((), 0, 0, True),
        drift=None,
        quality=EditQuality(None, 0.0, replace(CONSISTENCY, mean=None, low=None, high=None, applications=()), None),
        coverage=None,
        leaks=Leaks(0, 0, ()),
        duplicates=0,
        cautions=(),
        advice=None,
    )


@pytest.mark.parametrize(("name", "make"), [("full", make_full_diagnosis), ("empty", make_empty_diagnosis)])
def test_the_page_has_its_golden_text_and_structure(name: str, make) -> None:
    check_golden_page(render_diagnosis_html(make(), LOG), GOLDEN / f"{name}.txt")


def test_text_of_the_log_is_escaped() -> None:
    page = render_diagnosis_html(make_full_diagnosis(), LOG)
    assert "<log>" not in page and "<there>" not in page and "<b>x" not in page
    assert "Hi &lt;there&gt;" in page and "m &amp; n" in page
    assert "<title>Diagnosis of a &lt;log&gt;.jsonl</title>" in page


def test_the_colour_of_the_page_is_that_of_the_method() -> None:
    page = render_diagnosis_html(make_full_diagnosis(), LOG)
    assert "--method-sft: #" in page and "--accent: #" in page
    assert page.count("<svg") == 3


def test_the_terminal_has_its_golden_text() -> None:
    console = Console(width=100, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(render_diagnosis_terminal(make_full_diagnosis(), LOG, Path("page.html")))
    lines = "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"
    assert lines == (GOLDEN / "terminal.txt").read_text(encoding="utf-8")


def test_an_outline_shows_elements_text_and_order_but_no_plots() -> None:
    page = '<p class="a">x <del>y</del>\n <ins>z</ins></p><svg aria-label="plot"><path d="M0"/>t</svg><p> </p>'
    assert outline_page(page) == "<p class='a'>\n  x <del>y</del> <ins>z</ins>\n<svg> plot\n<p>\n"
