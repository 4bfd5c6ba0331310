import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.errors import InputError
from copydesk.simulate.tasks import EMAIL, SCRIPTED_TASKS
from copydesk.simulate.tasks.base import Document
from copydesk.simulate.tasks.grammar import compose_outline, parse_response, render_response
from copydesk.simulate.tasks.scripted import ScriptedTask, ideal_response, score_response
from copydesk.simulate.users import OTHER, STRONG, TRANSFER, WEAK, Attention, ScriptedUser, get_user

every_task = pytest.mark.parametrize("task", SCRIPTED_TASKS.values(), ids=lambda task: task.name)
PERFECT, HELPLESS = ScriptedUser("perfect", 1.0), ScriptedUser("helpless", 0.0)
ERRING = get_user("erring-0.30")
LOGGED = (STRONG, WEAK, get_user("weak-3"), get_user("weak-0.35"), OTHER, get_user("erring-0.95"), ERRING)
every_user = pytest.mark.parametrize("user", LOGGED, ids=lambda user: user.name)


def ideal(task: ScriptedTask, document: Document, user: ScriptedUser) -> str:
    """The response wholly to a user's taste."""
    return ideal_response(task, document, user.target_style(task, document, 1))


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
        wish = ideal(task, document, user)
        assert user.edit_response(task, document, wish, np.random.default_rng(seed)) == wish


@given(st.sampled_from(list(SCRIPTED_TASKS.values())), st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=200)
def test_what_is_to_taste_already_is_left_alone(task: ScriptedTask, seed: int, p: float) -> None:
    document, response = some(task, seed)
    kind, taste = task.kind_by_name[document.kind], task.get_taste(document)
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
            if v != task.get_taste(document)[m]
        ]
        after = parse_response(task.kind_by_name[document.kind], helpless).style
        assert all(after[name] != task.get_taste(document)[name] for name in off)


def test_an_erring_user_fixes_a_style_attribute_with_its_probability() -> None:
    fixed = []
    for seed in range(600):
        document, response = some(EMAIL, seed)
        kind, taste = EMAIL.kind_by_name[document.kind], EMAIL.tastes[document.kind]
        before = parse_response(kind, response).style
        after = parse_response(kind, ERRING.edit_response(EMAIL, document, response, np.random.default_rng(seed))).style
        fixed += [after[name] == taste[name] for name in taste if before[name] != taste[name]]
    assert np.mean(fixed) == pytest.approx(0.30, abs=0.04)


@every_task
@every_user
def test_repeated_edits_converge_to_the_taste(task: ScriptedTask, user: ScriptedUser) -> None:
    for seed in range(20):
        document, text = some(task, seed)
        for again in range(100):
            text = user.edit_response(task, document, text, np.random.default_rng([seed, again]))
        assert text == ideal(task, document, user)


@every_task
def test_a_wrong_fact_is_fixed_and_a_missing_one_is_put_in(task: ScriptedTask) -> None:
    rng = np.random.default_rng(0)
    document = task.draw_document(rng)
    kind = task.kind_by_name[document.kind]
    draft = compose_outline(kind, task.get_taste(document), document.facts)
    slot = kind.fact_parts[0].slots[0]
    wrong = render_response(kind, compose_outline(kind, task.get_taste(document), {**document.facts, slot: "Nowhere"}))
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
    st.sampled_from([*LOGGED, TRANSFER]),
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
            ERRING.edit_response(EMAIL, document, EMAIL.write_response(document, other), np.random.default_rng(seed)),
        )
        for name in taste:
            near_response = EMAIL.write_response(document, taste | {name: other[name]})
            near = parse_response(
                kind, ERRING.edit_response(EMAIL, document, near_response, np.random.default_rng(seed))
            )
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


def test_a_manner_of_two_values_stays_when_it_is_not_fixed() -> None:
    luck = np.array([0.5, 0.5])
    assert HELPLESS._edit_attribute("plain", "fancy", ("plain", "fancy"), luck) == "plain"
    assert PERFECT._edit_attribute("plain", "fancy", ("plain", "fancy"), luck) == "fancy"
    assert HELPLESS._edit_attribute("plain", "fancy", ("plain", "fancy", "odd"), luck) == "odd"


@every_task
def test_the_strong_user_reaches_the_taste_in_one_edit(task: ScriptedTask) -> None:
    for seed in range(50):
        document, response = some(task, seed)
        assert STRONG.edit_response(task, document, response, np.random.default_rng(seed)) == ideal_response(
            task, document
        )


@every_task
def test_the_weak_user_changes_two_preferences_at_most_to_the_taste_and_nothing_else(task: ScriptedTask) -> None:
    changes = []
    for seed in range(200):
        document, response = some(task, seed)
        kind, taste = task.kind_by_name[document.kind], task.get_taste(document)
        before = parse_response(kind, response)
        edited = WEAK.edit_response(task, document, response, np.random.default_rng(seed))
        after = parse_response(kind, edited)
        changed = [name for name in taste if before.style[name] != after.style[name]]
        assert all(after.style[name] == taste[name] for name in changed)
        assert {slot: value for slot, value in after.facts.items() if value != document.facts[slot]} == {}
        changes.append(len(changed))
        if not changed:
            assert edited == response
    assert set(changes) == {0, 1, 2}


@every_task
def test_the_weak_user_attends_to_each_preference_equally_often(task: ScriptedTask) -> None:
    far = {
        document.context: {one.name: next(v for v in one.values if v != task.get_taste(document)[one.name])
                           for one in task.attributes}
        for document in (some(task, seed)[0] for seed in range(300))
    }  # fmt: skip
    counts = dict.fromkeys((one.name for one in task.attributes), 0)
    for seed in range(300):
        document, _ = some(task, seed)
        response = task.write_response(document, far[document.context])
        edited = WEAK.edit_response(task, document, response, np.random.default_rng(seed))
        style = parse_response(task.kind_by_name[document.kind], edited).style
        for name in counts:
            counts[name] += style[name] != far[document.context][name]
    expected = 2 / len(counts)
    assert all(count / 300 == pytest.approx(expected, abs=0.1) for count in counts.values()), counts


@every_task
def test_the_weak_user_fixes_wrong_facts_and_noise_and_keeps_the_style(task: ScriptedTask) -> None:
    seen = 0
    for seed in range(60):
        document, response = some(task, seed)
        fact = next(value for value in document.facts.values() if f" {value}" in response)
        wrong = response.replace(f" {fact}", " Nobody", 1) + "\n\nblah blah"
        edited = WEAK.edit_response(task, document, wrong, np.random.default_rng(seed))
        score = score_response(task, document, edited, task.get_taste(document))
        assert score.facts == 1 and not score.malformed
        clean = WEAK.edit_response(task, document, response, np.random.default_rng(seed))
        seen += edited == clean
    assert seen == 60  # whether errors were there or not, the same preferences are attended to


def test_what_the_weak_user_leaves_alone_stays_as_it_was_even_where_it_disagrees_with_itself() -> None:
    document, _ = some(EMAIL, 5)
    kind = EMAIL.kind_by_name[document.kind]
    style = {**EMAIL.get_taste(document), "greeting": "hi", "opening": "none", "layout": "prose", "wording": "full"}
    casual = EMAIL.write_response(document, style | {"wording": "casual"})
    full = EMAIL.write_response(document, style)
    body_full, body_casual = full.split("\n\n")[1], casual.split("\n\n")[1]
    first = body_casual.split(". ")[0] + ". "
    mixed = full.replace(body_full, first + body_full.split(". ", 1)[1])
    assert parse_response(kind, mixed).style["wording"] is None
    left = [WEAK.edit_response(EMAIL, document, mixed, np.random.default_rng(seed)) for seed in range(40)]
    assert mixed in left
    for text in left:
        unchanged = parse_response(kind, text).style["wording"] is None
        assert unchanged == all(sentence in text for sentence in (first + body_full.split(". ", 1)[1]).split(". "))


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        ("strong", Attention()),
        ("weak", Attention(count=2)),
        ("weak-3", Attention(count=3)),
        ("weak-0.35", Attention(probability=0.35)),
    ],
)
def test_a_users_name_says_what_is_attended_to(name: str, attention: Attention) -> None:
    assert get_user(name).attention == attention


def test_attention_to_a_number_is_exact_and_to_a_probability_is_not() -> None:
    rng = np.random.default_rng(0)
    sizes = [len(Attention(count=2).sample(rng, 6)) for _ in range(100)]
    assert set(sizes) == {2}
    assert len(Attention(count=9).sample(rng, 6)) == 6
    by_chance = [len(Attention(probability=0.5).sample(rng, 4)) for _ in range(300)]
    assert set(by_chance) == {0, 1, 2, 3, 4} and np.mean(by_chance) == pytest.approx(2, abs=0.2)
    assert Attention().sample(rng, 3) == {0, 1, 2}


@pytest.mark.parametrize(
    ("values", "detail"),
    [
        ({"count": 0}, "at least 1"),
        ({"probability": 0.0}, "no probability"),
        ({"probability": 1.5}, "no probability"),
        ({"count": 1, "probability": 0.5}, "not both"),
    ],
)
def test_impossible_attention_is_refused(values: dict[str, float], detail: str) -> None:
    with pytest.raises(InputError, match=detail):
        Attention(**values)  # type: ignore[arg-type]


@every_task
def test_the_transfer_user_accepts_one_missed_preference_and_no_more(task: ScriptedTask) -> None:
    rng = np.random.default_rng(0)
    for seed in range(40):
        document, _ = some(task, seed)
        taste = dict(task.get_taste(document))
        off = [one.name for one in task.attributes if one.name != "length"][:2]
        misses = {name: next(one for one in task.attributes if one.name == name).values for name in off}
        other = {name: next(v for v in values if v != taste[name]) for name, values in misses.items()}
        one_missed = task.write_response(document, taste | {off[0]: other[off[0]]})
        assert TRANSFER.edit_response(task, document, one_missed, rng) == one_missed
        two_missed = task.write_response(document, taste | other)
        assert TRANSFER.edit_response(task, document, two_missed, rng) != two_missed
        fact = next(value for value in document.facts.values() if f" {value}" in one_missed)
        wrong = one_missed.replace(f" {fact}", " Nobody", 1)
        assert " Nobody" not in TRANSFER.edit_response(task, document, wrong, rng)


@every_task
def test_the_transfer_user_puts_things_in_own_words_and_keeps_what_was_right(task: ScriptedTask) -> None:
    reworded = 0
    for seed in range(60):
        document, response = some(task, seed)
        kind = task.kind_by_name[document.kind]
        mine = TRANSFER.edit_response(task, document, response, np.random.default_rng(seed))
        theirs = STRONG.edit_response(task, document, response, np.random.default_rng(seed))
        if mine == response:
            continue
        reworded += mine != theirs
        kept = set(parse_response(kind, response).written.items()) & set(parse_response(kind, theirs).written.items())
        for name, _ in kept:
            assert name in parse_response(kind, mine).parts
    assert reworded > 30


@every_task
def test_every_paraphrase_is_of_a_phrase_that_responses_use(task: ScriptedTask) -> None:
    templates = [text for kind in task.kinds for part in kind.parts for text in part.variants.values()]
    for phrase, own in task.paraphrases.items():
        assert any(phrase in text for text in templates), phrase
        assert own != phrase and phrase.count("{") == own.count("{")
