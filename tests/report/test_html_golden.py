"""The words and the structure of the report, compared with golden files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.page_outline import check_golden_page

from copydesk.report import summarize_rounds
from copydesk.report.html import render_report_html

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = "<script>alert('1')</script> & \"q\" {{ 7 * 7 }}"

MakeRound = Callable[..., dict[str, Any]]
MakeRounds = Callable[..., list[dict[str, Any]]]
Rounds = list[dict[str, Any]]


def make_plain(make_rounds: MakeRounds) -> Rounds:
    """One column with every measure, examples and tastes."""
    return [{**one, "taste": "short mails"} for one in make_rounds(rounds=40)]


def make_paper(make_rounds: MakeRounds) -> Rounds:
    """The paper's columns, two seeds, with the user changing what is best; and an oracle."""
    rounds = make_rounds(["email/strong", "summarization/weak"], [0, 1], 20)
    for one in rounds:
        if one["user"] == "weak" and one["method"] == "sft":
            one["cost"] += 0.5
    oracle = [{**one, "method": "oracle", "policy": "oracle", "cost": 0.01} for one in rounds if one["method"] == "sft"]
    return rounds + oracle


def make_shift(make_rounds: MakeRounds) -> Rounds:
    """Plain columns beside users who change or are not those of the log, with two rules of the late ensemble."""
    columns = ["email/strong", "email/strong-to-weak", "email/strong-then-weak"]
    rounds = make_rounds(columns, [0, 1], 20, lates=["late", "late-thompson", "late-mine"])
    for one in rounds:
        one["cost"] += 0.4 * ((one["method"], one["user"]) == ("sft", "strong-to-weak"))
    return rounds


def make_sweeps(make_rounds: MakeRounds) -> Rounds:
    """Sweeps over the user's strength, with a crossing, and over the size of the log."""
    columns = ["email/mine", "email/p0.2", "email/p0.6", "email/mine-n20", "email/mine-n500"]
    rounds = make_rounds(columns, [0, 1], 9)
    for one in rounds:
        one["cost"] += 0.6 * ((one["method"], one["user"]) == ("sft", "p0.2"))
    return rounds


def make_tables(make_rounds: MakeRounds) -> Rounds:
    """The paper's two tables for one task, an erring user beside them, and a sweep over both users' logs."""
    users = ["strong", "weak-to-strong", "strong-to-transfer", "weak-to-transfer", "erring-0.30"]
    users += ["strong-n50", "strong-n100", "weak-to-strong-n50", "weak-to-strong-n100", "weak-0.35-to-strong"]
    rounds = make_rounds([f"email/{user}" for user in users], [0, 1], 20)
    for one in rounds:
        one["cost"] += 0.5 * (one["user"].startswith("weak") and one["policy"] == "sft")
        one |= {"subtoken_cost": 1.1 * one["cost"], "trimmed": one["policy"] == "dpo"}
    return rounds


def make_hostile(make_rounds: MakeRounds) -> Rounds:
    """Markup and template syntax in every field that holds text; chat messages as contexts."""
    fields = ("task", "user", "kind", "response", "taste")
    rounds = [{**one, **{field: f"{field} {HOSTILE}" for field in fields}} for one in make_rounds(rounds=9)]
    for one in rounds:
        one["context"] = [{"role": "user", "content": f"{HOSTILE}\n\n  {one['t']}"}]
        one["edit"] = one["response"] if one["cost"] == 0 else f"{one['response']}\n<b>{one['t']}</b>"
        if one["method"] == "dpo":
            one["method"] = one["policy"] = f"dpo {HOSTILE}"
        elif one["method"] == "late" and one["policy"] == "dpo":
            one["policy"] = f"dpo {HOSTILE}"
    return rounds


def make_without_base(make_rounds: MakeRounds) -> Rounds:
    """One method alone, of which no saving can be computed."""
    return [one for one in make_rounds(rounds=9) if one["method"] == "sft"]


MAKERS = {
    "plain": make_plain,
    "paper": make_paper,
    "shift": make_shift,
    "sweeps": make_sweeps,
    "tables": make_tables,
    "hostile": make_hostile,
    "without_base": make_without_base,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_the_words_and_the_structure_are_those_of_the_golden_file(name: str, make_rounds: MakeRounds) -> None:
    settings = {"task": "email", "train": {"lr": 3e-4, "none": {}}, "arms": ["sft", "dpo"], "note": HOSTILE}
    check(name, MAKERS[name](make_rounds), settings)


def test_the_section_about_people_is_that_of_the_golden_file(make_round: MakeRound) -> None:
    people = {"ann": {"p": 0.95, "turn": 0, "edits": 8}, "b<i>n": {"p": 0.95, "turn": 1, "edits": 3}}
    costs = {"ann": (0.8, 0.2, 0.1), "b<i>n": (0.8, 0.6, 0.7)}
    rounds = []
    for who, (base, shared, own) in costs.items():
        for t in (1, 2):
            place: dict[str, Any] = {"column": f"email/{who}", "t": t}
            policies = {"base": base, "shared": shared, f"own-{who}": own}
            for method, (policy, cost) in zip(("base", "shared", "own"), policies.items(), strict=True):
                rounds.append(make_round(method, cost, policy=policy, **place))
            arm = "shared" if t == 1 else f"own-{who}"
            rounds.append(make_round("late", policies[arm], policy=arm, **place))
    check("personal", rounds, {"task": "email", "people": people})


def check(name: str, rounds: Rounds, settings: dict[str, Any]) -> None:
    """Compare a report with the golden file of that name."""
    page = render_report_html(rounds, summarize_rounds(rounds, settings, {"train.sft": 18.25}))
    check_golden_page(page, GOLDEN / f"{name}.txt")
