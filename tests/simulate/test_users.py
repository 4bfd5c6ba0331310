import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.errors import InputError
from copydesk.simulate.tasks import EMAIL, SCRIPTED_TASKS
from copydesk.simulate.tasks.base import Document
from copydesk.simulate.tasks.grammar import compose_outline, parse_response, render_response
from copydesk.simulate.tasks.scripted import ScriptedTask, ideal_response, score_response
from copydesk.simulate.users import STRONG, USERS, WEAK, ScriptedUser, get_user

every_task = pytest.mark.parametrize("task", SCRIPTED_TASKS.values(), ids=lambda task: task.name)
every_user = pytest.mark.parametrize("user", USERS.values(), ids=lambda user: user.name)
PERFECT, HELPLESS = ScriptedUser("perfect", 1.0), ScriptedUser("helpless", 0.0)


def some(task: ScriptedTask, seed: int) -> tuple[Document, str]:
    """A document and a response in the reference policy's manners."""
    rng = np.random.default_rng(seed)
    document = task.draw_document(rng)
    return document, task.write_response(document, task.draw_style(rng))


@every_task
@every_user
def test_a_response_wholly_to_taste_is_accepted_unchanged(task: ScriptedTask, user: ScriptedUser) -> None:
    for seed in range(50):
        document, _ = some(task, seed)
        wish = ideal_response(task, document)
        assert user.edit_response(task, document, wish, np.random.default_rng(seed)) == wish


@given(st.sampled_from(list(SCRIPTED_TASKS.values())), st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=200)
def test_what_is_to_taste_already_is_left_alone(task: ScriptedTask, seed: int, p: float) -> None:
    document, response = some(task, seed)
    kind, taste = task.kind_by_name[document.kind], task.tastes[document.kind]
    before = parse_response(kind, response).style
    after = parse_response(
        kind, ScriptedUser("any", p).edit_response(task, document, response, np.random.default_rng(seed))
    ).style
    for name, wanted in taste.items():
        if before[name] == wanted:
            assert after[name] == wanted
        else:  # every manner here has more than two values, so it is changed, to the taste or to another
            assert after[name] != before[name]


@every_task
def test_a_perfect_user_reaches_the_taste_in_one_edit_and_a_helpless_one_never_does(task: ScriptedTask) -> None:
    for seed in range(50):
        document, response = some(task, seed)
        assert PERFECT.edit_response(task, document, response, np.random.default_rng(seed)) == ideal_response(
            task, document
        )
        helpless = HELPLESS.edit_response(task, document, response, np.random.default_rng(seed))
        off = [
            m
            for m, v in parse_response(task.kind_by_name[document.kind], response).style.items()
            if v != task.tastes[document.kind][m]
        ]
        after = parse_response(task.kind_by_name[document.kind], helpless).style
        assert all(after[name] != task.tastes[document.kind][name] for name in off)


def test_a_manner_is_mended_with_the_users_probability() -> None:
    mended = []
    for seed in range(600):
        document, response = some(EMAIL, seed)
        kind, taste = EMAIL.kind_by_name[document.kind], EMAIL.tastes[document.kind]
        before = parse_response(kind, response).style
        after = parse_response(kind, WEAK.edit_response(EMAIL, document, response, np.random.default_rng(seed))).style
        mended += [after[name] == taste[name] for name in taste if before[name] != taste[name]]
    assert np.mean(mended) == pytest.approx(WEAK.p, abs=0.04)


@every_task
@every_user
def test_repeated_edits_converge_to_the_taste(task: ScriptedTask, user: ScriptedUser) -> None:
    for seed in range(20):
        document, text = some(task, seed)
        for again in range(100):
            text = user.edit_response(task, document, text, np.random.default_rng([seed, again]))
        assert text == ideal_response(task, document)


@every_task
def test_a_wrong_fact_is_mended_and_a_missing_one_is_put_in(task: ScriptedTask) -> None:
    rng = np.random.default_rng(0)
    document = task.draw_document(rng)
    kind = task.kind_by_name[document.kind]
    draft = compose_outline(kind, task.tastes[document.kind], document.facts)
    slot = kind.fact_parts[0].slots[0]
    wrong = render_response(
        kind, compose_outline(kind, task.tastes[document.kind], {**document.facts, slot: "Nowhere"})
    )
    missing = render_response(
        kind, type(draft)(draft.style, draft.facts, tuple(p for p in draft.parts if p != kind.fact_parts[1].name))
    )
    for spoilt in (wrong, missing):
        assert spoilt != ideal_response(task, document)
        assert PERFECT.edit_response(task, document, spoilt, rng) == ideal_response(task, document)
        assert HELPLESS.edit_response(task, document, spoilt, rng) == spoilt


@every_task
def test_garbled_and_misplaced_text_is_tidied(task: ScriptedTask) -> None:
    rng = np.random.default_rng(1)
    document = task.draw_document(rng)
    wish = ideal_response(task, document)
    for spoilt in (wish + "\n\nblah blah the the", "So so. " + wish, wish + " " + wish):
        assert PERFECT.edit_response(task, document, spoilt, rng) == wish
        assert HELPLESS.edit_response(task, document, spoilt, rng) == spoilt
        assert score_response(task, document, spoilt).malformed
    assert not score_response(task, document, wish).malformed


@given(
    st.sampled_from(list(SCRIPTED_TASKS.values())),
    st.integers(0, 1000),
    st.text(max_size=200),
    st.sampled_from([STRONG, WEAK]),
)
@settings(max_examples=200)
def test_any_text_can_be_edited_and_the_same_luck_gives_the_same_edit(
    task: ScriptedTask, seed: int, text: str, user: ScriptedUser
) -> None:
    document, _ = some(task, seed)
    first, again = (user.edit_response(task, document, text, np.random.default_rng(seed)) for _ in range(2))
    assert first == again


def test_users_meet_two_responses_with_the_same_luck() -> None:
    """The decision about one manner does not depend on the rest of the response."""
    document, _ = some(EMAIL, 5)
    taste = dict(EMAIL.tastes[document.kind])
    other = {m.name: next(v for v in m.values if v != taste[m.name]) for m in EMAIL.attributes}
    kind = EMAIL.kind_by_name[document.kind]
    for seed in range(30):
        far = parse_response(
            kind,
            WEAK.edit_response(EMAIL, document, EMAIL.write_response(document, other), np.random.default_rng(seed)),
        )
        for name in taste:
            near_response = EMAIL.write_response(document, taste | {name: other[name]})
            near = parse_response(kind, WEAK.edit_response(EMAIL, document, near_response, np.random.default_rng(seed)))
            assert near.style[name] == far.style[name]


def test_reading_counts_facts() -> None:
    document, _ = some(EMAIL, 2)
    wish = ideal_response(EMAIL, document)
    assert score_response(EMAIL, document, wish).facts == 1
    assert score_response(EMAIL, document, wish).to_taste
    name = document.facts["to"]
    reading = score_response(EMAIL, document, wish.replace(f" {name}", " Nobody"))
    assert not reading.correct_slots["to"]
    assert 0 < reading.facts < 1
    assert score_response(EMAIL, document, "").facts == 0


def test_an_unknown_user_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="strong, weak"):
        get_user("nobody")


def test_a_manner_of_two_values_stays_when_it_is_not_mended() -> None:
    luck = np.array([0.5, 0.5])
    assert HELPLESS._edit_attribute("plain", "fancy", ("plain", "fancy"), luck) == "plain"
    assert PERFECT._edit_attribute("plain", "fancy", ("plain", "fancy"), luck) == "fancy"
    assert HELPLESS._edit_attribute("plain", "fancy", ("plain", "fancy", "odd"), luck) == "odd"
