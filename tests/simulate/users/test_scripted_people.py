from collections import Counter

import pytest

from copydesk.simulate.tasks import EMAIL
from copydesk.simulate.users import OTHER, STRONG, WEAK, get_user
from copydesk.simulate.users.scripted import MIN_PERSONAL_EDITS, make_personal_users


@pytest.mark.parametrize("edits", [MIN_PERSONAL_EDITS, 25, 100, 299, 300, 1001])
def test_everybody_gives_some_of_the_edits_and_together_they_give_all(edits: int) -> None:
    counts = [person.edits for person in make_personal_users(STRONG, edits)]
    assert sum(counts) == edits
    assert min(counts) >= 1


def test_in_both_halves_one_gives_much_one_some_and_one_little() -> None:
    everybody = make_personal_users(STRONG, 300)
    assert [person.edits for person in everybody] == [100, 38, 12, 100, 38, 12]


def test_three_want_the_same_and_three_each_something_else() -> None:
    everybody = make_personal_users(STRONG, 300)
    for document in EMAIL.draw_online(40, 0, frozenset()):
        tastes = Counter(str(sorted(person.user.target_style(EMAIL, document, 1).items())) for person in everybody)
        assert max(tastes.values()) >= 3
        assert everybody[0].user.target_style(EMAIL, document, 1) == STRONG.target_style(EMAIL, document, 1)
    everybody = make_personal_users(get_user("erring-0.95"), 300)
    for document in EMAIL.draw_online(40, 0, frozenset()):
        tastes = Counter(str(sorted(person.user.target_style(EMAIL, document, 1).items())) for person in everybody)
        assert sorted(tastes.values()) == [1, 1, 1, 3]


def test_they_take_after_the_user_given() -> None:
    assert {person.user.p for person in make_personal_users(get_user("erring-0.30"), 300)} == {0.30}
    assert {person.user.attention for person in make_personal_users(WEAK, 300)} == {WEAK.attention}
    assert [person.user.taste_offset for person in make_personal_users(OTHER, 300)] == [1, 1, 1, 2, 3, 4]


def test_a_person_is_kept_as_what_they_are() -> None:
    assert make_personal_users(get_user("erring-0.95"), 300)[4].to_json() == {"p": 0.95, "turn": 2, "edits": 38}
