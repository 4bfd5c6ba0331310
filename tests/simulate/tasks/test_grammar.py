import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.simulate.tasks import EMAIL, SCRIPTED_TASKS, SUMMARIZATION
from copydesk.simulate.tasks.grammar import Noise, ResponseOutline, compose_outline, parse_response, render_response
from copydesk.simulate.tasks.scripted import ScriptedTask

tasks = st.sampled_from(list(SCRIPTED_TASKS.values()))
seeds = st.integers(0, 2**32 - 1)


@given(tasks, seeds)
@settings(max_examples=300)
def test_what_was_rendered_is_parsed_to_the_same_draft(task: ScriptedTask, seed: int) -> None:
    rng = np.random.default_rng(seed)
    document = task.draw_document(rng)
    kind = task.kind_by_name[document.kind]
    draft = compose_outline(kind, task.draw_style(rng), document.facts)
    assert parse_response(kind, render_response(kind, draft)) == draft


@given(tasks, seeds)
@settings(max_examples=200)
def test_incomplete_and_disordered_drafts_survive_too(task: ScriptedTask, seed: int) -> None:
    rng = np.random.default_rng(seed)
    document = task.draw_document(rng)
    kind = task.kind_by_name[document.kind]
    whole = compose_outline(kind, task.draw_style(rng), document.facts)
    kept = [
        part
        for part in whole.parts
        if not kind.part_by_name[part].body or part in ("detail", "recap") or rng.random() < 0.7
    ]
    if not [part for part in kept if kind.part_by_name[part].attribute == "wording"]:
        return  # nothing left shows the wording
    rng.shuffle(kept)
    facts = {slot: whole.facts[slot] for part in kept for slot in kind.part_by_name[part].slots}
    draft = ResponseOutline(whole.style, facts, tuple(kept))
    assert parse_response(kind, render_response(kind, draft)) == draft


@given(tasks, seeds, st.text(max_size=300))
@settings(max_examples=300)
def test_any_text_at_all_is_read_without_losing_a_character_of_noise(task: ScriptedTask, seed: int, text: str) -> None:
    kind = task.kinds[seed % len(task.kinds)]
    draft = parse_response(kind, text)
    if not draft.parts:
        assert "".join("".join(noise.text.split()) for noise in draft.noise) == "".join(text.split())


def test_a_repeated_part_is_noise_and_the_first_counts() -> None:
    kind = EMAIL.kind_by_name["problem"]
    draft = parse_response(kind, "Since: Monday. Since: Friday.")
    assert draft.facts == {"day": "Monday"}
    assert draft.noise == (Noise("Since: Friday."),)


def test_manners_that_disagree_are_none() -> None:
    kind = EMAIL.kind_by_name["problem"]
    draft = parse_response(kind, "- Since: Monday.\nI would be very grateful for some advice.")
    assert draft.style["layout"] is None
    assert draft.style["wording"] is None
    assert draft.style["greeting"] == "none"


def test_a_sentence_of_another_kind_is_noise() -> None:
    draft = parse_response(
        SUMMARIZATION.kind_by_name["wiki"], "The film under review is a comedy with Farrow in the lead."
    )
    assert not draft.parts
    assert len(draft.noise) == 1


@pytest.mark.parametrize("task", SCRIPTED_TASKS.values(), ids=lambda task: task.name)
def test_layouts_look_as_they_should(task: ScriptedTask) -> None:
    document = task.draw_document(np.random.default_rng(3))
    manners = dict(task.tastes[document.kind]) | {"layout": "bullets"}
    assert "\n- " in task.write_response(document, manners)
