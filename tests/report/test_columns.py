"""Parsing the names of columns."""

import pytest

from copydesk.report.columns import (
    Scenario,
    filter_main_scenarios,
    format_scenario_title,
    group_scenarios,
    parse_scenario,
)


@pytest.mark.parametrize(
    ("name", "column", "title"),
    [
        ("email/strong", Scenario("email/strong", "email", "strong", "strong"), "Email, strong user"),
        (
            "email/strong-to-weak",
            Scenario("email/strong-to-weak", "email", "strong", "weak"),
            "Email, log of strong, meets weak",
        ),
        (
            "email/strong-then-other",
            Scenario("email/strong-then-other", "email", "strong", "other", changes_midway=True),
            "Email, strong user, who turns into other halfway",
        ),
        (
            "email/strong-n5000",
            Scenario("email/strong-n5000", "email", "strong", "strong", edits=5000),
            "Email, strong user, 5,000 edits",
        ),
        (
            "email/p0.35",
            Scenario("email/p0.35", "email", "p0.35", "p0.35", strength=0.35),
            "Email, user of strength 0.35",
        ),
        (
            "prelude-email/a-to-b-n9",
            Scenario("prelude-email/a-to-b-n9", "prelude-email", "a", "b", edits=9),
            "Prelude email, log of a, meets b, 9 edits",
        ),
        (
            "email/weak-to-strong",
            Scenario("email/weak-to-strong", "email", "weak", "strong"),
            "Email, weak user's log, met by the strong user",
        ),
        (
            "email/weak-to-strong-n3000",
            Scenario("email/weak-to-strong-n3000", "email", "weak", "strong", edits=3000),
            "Email, weak user's log, met by the strong user, 3,000 edits",
        ),
        (
            "email/strong-to-transfer",
            Scenario("email/strong-to-transfer", "email", "strong", "transfer"),
            "Email, strong user's log, met by the transfer user",
        ),
        (
            "email/weak-0.35-to-strong",
            Scenario("email/weak-0.35-to-strong", "email", "weak-0.35", "strong", attention=0.35),
            "Email, weak-0.35 user's log, met by the strong user",
        ),
        (
            "email/weak-0.5",
            Scenario("email/weak-0.5", "email", "weak-0.5", "weak-0.5", attention=0.5),
            "Email, weak-0.5 user",
        ),
        (
            "email/weak-3-to-strong",
            Scenario("email/weak-3-to-strong", "email", "weak-3", "strong"),
            "Email, log of weak-3, meets strong",
        ),
        (
            "email/erring-0.30-to-strong",
            Scenario("email/erring-0.30-to-strong", "email", "erring-0.30", "strong"),
            "Email, log of erring-0.30, meets strong",
        ),
    ],
)
def test_the_name_of_a_column_is_parsed(name: str, column: Scenario, title: str) -> None:
    assert parse_scenario(name) == column
    assert format_scenario_title(name) == title


@pytest.mark.parametrize("user", ["paul", "p", "pilot-2", "strong-n0", "-n5", "tomato-together", "-to-weak", "a/b", ""])
def test_users_that_match_no_pattern_are_names(user: str) -> None:
    column = parse_scenario(f"email/{user}")
    assert (column.log_user, column.online_user, column.is_plain) == (user, user, True)


def test_a_column_is_plain_shifted_or_swept() -> None:
    names = ["strong", "strong-to-weak", "strong-then-weak", "strong-n50", "p1", "strong-to-weak-n50"]
    columns = [parse_scenario(f"email/{name}") for name in names]
    assert [column.is_plain for column in columns] == [True, False, False, False, False, False]
    assert [column.is_shifted for column in columns] == [False, True, True, False, False, False]
    assert [column.swept_parameter for column in columns] == [None, None, None, "n", "p", "n"]


def test_the_user_met_online_decides_which_of_the_papers_tables_a_column_is_in() -> None:
    names = ["strong", "weak-to-strong", "weak-to-transfer", "strong-to-transfer", "weak", "weak-3-to-strong"]
    assert [parse_scenario(f"a/{name}").table for name in names] == [1, 1, 2, 2, None, None]
    others = ["weak-then-strong", "weak-to-strong-n9", "weak-0.5-to-strong", "erring-0.30-to-strong", "transfer"]
    assert {parse_scenario(f"a/{name}").table for name in others} == {None}
    assert parse_scenario("email/weak-to-transfer").table_title == "Email, weak user's log"


def describe(names: list[str]) -> dict[str, list[str]]:
    groups = group_scenarios(names)
    tables = {f"table {number}": columns for number, columns in groups.tables.items()}
    found = {**tables, "plain": groups.plain, "shifted": groups.shifted, "swept": groups.swept}
    return {name: [column.name for column in columns] for name, columns in found.items() if columns}


def test_columns_are_grouped_by_table_and_the_rest_as_in_other_runs() -> None:
    names = ["a/strong-to-transfer", "a/strong", "a/erring-0.30", "a/weak-to-strong", "a/strong-then-other", "a/p0.5"]
    assert describe(names) == {
        "table 1": ["a/strong", "a/weak-to-strong"],
        "table 2": ["a/strong-to-transfer"],
        "plain": ["a/erring-0.30"],
        "shifted": ["a/strong-then-other"],
        "swept": ["a/p0.5"],
    }
    assert filter_main_scenarios(names) == ["a/strong", "a/weak-to-strong"]
    assert filter_main_scenarios(names[:1]) == ["a/strong-to-transfer"]


def test_a_run_of_the_strong_user_alone_has_no_table() -> None:
    names = ["a/strong", "b/strong", "a/strong-to-other"]
    assert describe(names) == {"plain": ["a/strong", "b/strong"], "shifted": ["a/strong-to-other"]}
    assert filter_main_scenarios(["a/strong-to-other", "a/p1"]) == ["a/strong-to-other", "a/p1"]


def test_a_run_of_release_0_1_has_no_table_since_its_weak_user_erred() -> None:
    names = ["a/strong", "a/weak", "a/weak-to-strong"]
    assert describe(names) == {"plain": ["a/strong", "a/weak"], "shifted": ["a/weak-to-strong"]}
