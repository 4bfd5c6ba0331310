import numpy as np
import pytest

from copydesk.data.cost import EditCost
from copydesk.errors import InputError
from copydesk.simulate.protocol import simulate_edits
from copydesk.simulate.seeds import SeedStream, make_seed_key
from copydesk.simulate.tasks import EMAIL, SUMMARIZATION, get_task
from copydesk.simulate.tasks.scripted import ideal_response, score_response
from copydesk.simulate.users import OTHER, STRONG, WEAK, ChangingUser, ScriptedUser, get_user


def test_the_name_of_an_erring_user_has_its_strength() -> None:
    assert get_user("erring-0.35") == ScriptedUser("erring-0.35", 0.35, facets=False)
    assert get_user("erring-1").p == 1.0
    for name in (
        "erring-2",
        "erring-",
        "erring--1",
        "erring-1.5",
        "erring-0.0",
        "weak-0",
        "weak-0.0",
        "weak-1.5",
        "p0.3",
    ):
        with pytest.raises(InputError, match=r"no user"):
            get_user(name)


@pytest.mark.parametrize("task", [EMAIL, SUMMARIZATION], ids=lambda task: task.name)
def test_another_taste_is_that_of_the_next_kind(task) -> None:  # type: ignore[no-untyped-def]
    kinds = list(task.tastes)
    for place, kind in enumerate(kinds):
        plain = next(one for one in (task.draw_document(np.random.default_rng(n)) for n in range(200))
                     if one.kind == kind and task.get_taste(one) == task.tastes[kind])  # fmt: skip
        assert OTHER.target_style(task, plain, 1) == task.tastes[kinds[(place + 1) % len(kinds)]] != task.tastes[kind]
        assert STRONG.target_style(task, plain, 1) == task.tastes[kind]
    perfect = ScriptedUser("perfect", 1.0, taste_offset=1)
    for seed in range(20):
        document = task.draw_document(np.random.default_rng(seed))
        wish = ideal_response(task, document, perfect.target_style(task, document, 1))
        assert (
            perfect.edit_response(task, document, ideal_response(task, document), np.random.default_rng(seed)) == wish
        )
        assert score_response(task, document, wish, perfect.target_style(task, document, 1)).to_taste
        assert not score_response(task, document, wish).to_taste


def test_every_taste_is_told_in_words() -> None:
    for task in (EMAIL, SUMMARIZATION):
        documents = [task.draw_document(np.random.default_rng(n)) for n in range(200)]
        words = {tuple(task.get_taste(one).values()): task.list_preferences(one) for one in documents}
        assert len(set(words.values())) == len(words) > len(task.tastes)
        assert all(len(one) == len(task.attributes) and all(one) for one in words.values())


def test_a_changing_user_is_judged_by_the_taste_of_the_day() -> None:
    user = ChangingUser("strong-then-other", STRONG, OTHER, change_round=5)
    documents = EMAIL.draw_online(10, 0, frozenset())
    wishes = [ideal_response(EMAIL, one) for one in documents]
    rounds = simulate_edits("ideal", "ideal", EMAIL, user, documents, wishes, 0, EditCost(unit="word"))
    assert [one.taste for one in rounds] == [True] * 5 + [False] * 5
    assert [one.distance == 0 for one in rounds] == [True] * 5 + [False] * 5
    assert all(one.cost == 0 for one in rounds[:5]) and all(one.cost > 0 for one in rounds[5:])


def test_a_changing_user_of_whom_nobody_knows_the_taste_is_not_judged() -> None:
    class Somebody:
        name = "somebody"

        def edit(self, task, documents, responses, seeds):  # type: ignore[no-untyped-def]
            return [response + "!" for response in responses]

    documents = EMAIL.draw_online(4, 0, frozenset())
    user = ChangingUser("strong-then-somebody", STRONG, Somebody(), change_round=2)
    rounds = simulate_edits("x", "x", EMAIL, user, documents, ["Hi."] * 4, 0, EditCost(unit="word"))
    assert all(one.distance is None and one.taste is None for one in rounds)
    assert {"distance", "malformed", "facts", "taste"}.isdisjoint(rounds[0].to_json())
    assert [one.edit for one in rounds[2:]] == ["Hi.!", "Hi.!"]


def test_a_script_cannot_read_real_documents() -> None:
    with pytest.raises(InputError, match=r"give an LLM as this user, such as --user weak=MODEL@URL"):
        WEAK.edit(get_task("prelude-email"), [], [], [])


def test_the_luck_of_a_round_does_not_depend_on_its_place_in_a_batch() -> None:
    documents = EMAIL.draw_online(4, 0, frozenset())
    luck = [make_seed_key(0, SeedStream.ONLINE_EDITS, t) for t in range(1, 5)]
    responses = ["Hi."] * 4
    whole = WEAK.edit(EMAIL, documents, responses, luck)
    assert whole == [WEAK.edit(EMAIL, [d], [r], [k])[0] for d, r, k in zip(documents, responses, luck, strict=True)]
