"""Parsing the names of columns."""

import pytest

from copydesk.report.columns import Scenario, format_scenario_title, parse_scenario


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
