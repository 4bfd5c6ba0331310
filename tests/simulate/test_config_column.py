import pytest

from copydesk.errors import InputError
from copydesk.simulate.config import parse_scenario_arg
from copydesk.simulate.log_run import make_online_user
from copydesk.simulate.presets import list_harder_scenarios
from copydesk.simulate.seeds import SeedStream, make_seed_key
from copydesk.simulate.tasks import EMAIL
from copydesk.simulate.users import OTHER, STRONG, WEAK, User, get_user


@pytest.mark.parametrize("name", ["email", "/strong", "email/", "a/b/c"])
def test_what_is_no_column_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"write TASK/USER"):
        parse_scenario_arg(name)


def edits(user: User, rounds: int) -> list[str]:
    documents = EMAIL.draw_online(rounds, 0, frozenset())
    responses = [EMAIL.write_response(one, EMAIL.tastes["paper"]) for one in documents]
    return user.edit(
        EMAIL, documents, responses, [make_seed_key(0, SeedStream.ONLINE_EDITS, t) for t in range(1, rounds + 1)]
    )


def test_who_is_met_is_who_the_name_says() -> None:
    of = {user.name: edits(user, 20) for user in (STRONG, WEAK, OTHER)}
    assert of["strong"] != of["other"] != of["weak"]
    same = make_online_user(parse_scenario_arg("email/strong"), get_user, 20)
    assert (same.name, edits(same, 20)) == ("strong", of["strong"])
    shift = make_online_user(parse_scenario_arg("email/strong-to-weak"), get_user, 20)
    assert (shift.name, edits(shift, 20)) == ("strong-to-weak", of["weak"])
    change = make_online_user(parse_scenario_arg("email/strong-then-other"), get_user, 20)
    assert (change.name, edits(change, 20)) == ("strong-then-other", of["strong"][:10] + of["other"][10:])
    sized = make_online_user(parse_scenario_arg("email/strong-n50"), get_user, 20)
    assert (sized.name, edits(sized, 20)) == ("strong-n50", of["strong"])


def test_harder_columns_have_another_taste_a_change_or_a_user_who_errs() -> None:
    names = list_harder_scenarios(["email"])
    assert {name.partition("/")[2] for name in names} == {
        "strong-to-weak", "strong-to-other", "strong-then-other", "erring-0.30", "erring-0.30-to-strong"
    }  # fmt: skip
    for name in names:
        column = parse_scenario_arg(name)
        assert (get_user(column.log_user).name, get_user(column.online_user).name) == (
            column.log_user,
            column.online_user,
        )
