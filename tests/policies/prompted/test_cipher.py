from collections.abc import Sequence
from typing import Any

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.data.record import Context, EditRecord, Message
from copydesk.errors import InputError
from copydesk.policies import BestOfNPolicy, LocalPolicy, Sampling
from copydesk.policies.prompted import CipherPolicy, Learner, RetrievalMemory
from copydesk.policies.prompted.cipher import DESCRIPTION_SAMPLING
from copydesk.policies.prompted.prompts import (
    add_guidance,
    render_inference_prompt,
    render_merge_prompt,
    render_taste_guidance,
)

LOG = [
    EditRecord(id="news", context="news", response="Dear Ada", edit="Hi Ada"),
    EditRecord(id="film", context="film film", response="A film", edit="Film: yes"),
    EditRecord(id="mixed", context="news news film", response="Both, at length", edit="Both"),
    EditRecord(id="late", context="paper", response="A paper", edit=None),
]
TASTES = {"Hi Ada": "informal", "Film: yes": "questions", "Both": "brief", "Nil": "none"}
SAMPLING = Sampling(temperature=0.7, max_new_tokens=20)


def describes(prompt: Context, seed: Sequence[int]) -> str:
    """Knows the taste behind each edit, and merges by joining."""
    assert isinstance(prompt, str)
    if prompt.startswith("Somebody was given this text and left it as it was:\n"):
        return f"like {prompt.splitlines()[1]}"
    if prompt.startswith("Somebody was given"):
        return next(taste for edit, taste in TASTES.items() if f"changed it to this:\n{edit}\n" in prompt)
    if prompt.startswith("These notes"):
        return " and ".join(line[2:] for line in prompt.splitlines() if line.startswith("- "))
    return f"answer {tuple(seed)}"


@pytest.fixture
def writer(writer: Any) -> Any:
    writer.answer = describes
    return writer


def make_learner(
    writer: Any, encoder: Any, k: int, records: Sequence[EditRecord] = LOG, **options: Any
) -> CipherPolicy:
    policy = CipherPolicy("cipher", writer, RetrievalMemory(encoder), k, **options)
    policy.learn(records)
    writer.requests.clear()
    return policy


def told(context: str, taste: str) -> Context:
    return add_guidance(context, render_taste_guidance(taste))


def test_a_log_is_described_in_one_request_with_seeds_of_the_rows(writer: Any, encoder: Any) -> None:
    CipherPolicy("cipher", writer, RetrievalMemory(encoder)).learn(LOG)
    ((prompts, seeds, sampling),) = writer.requests
    assert prompts == [render_inference_prompt(record.response, str(record.edit)) for record in LOG[:3]]
    assert sampling == DESCRIPTION_SAMPLING
    assert len(set(seeds)) == 3
    CipherPolicy("other", writer, RetrievalMemory(encoder)).learn(LOG[1:2])
    assert writer.requests[1] == ([prompts[1]], [seeds[1]], sampling)


def test_of_one_it_tells_the_taste_of_the_nearest_context(writer: Any, encoder: Any) -> None:
    policy: Learner = make_learner(writer, encoder, 1)
    contexts = ["news long", "film", "news news news film film"]
    assert policy.respond(contexts, [(1,), (2,), (3,)], SAMPLING) == ["answer (1,)", "answer (2,)", "answer (3,)"]
    prompts = [told(*pair) for pair in zip(contexts, ["informal", "questions", "brief"], strict=True)]
    assert writer.requests == [(prompts, [(1,), (2,), (3,)], SAMPLING)]


def test_of_several_it_merges_those_of_the_nearest_contexts_in_one_request(writer: Any, encoder: Any) -> None:
    policy = make_learner(writer, encoder, 2)
    policy.respond(["news long", "film"], [(1,), (2,)], SAMPLING)
    merging, answering = writer.requests
    assert merging[0] == [render_merge_prompt(["informal", "brief"]), render_merge_prompt(["questions", "brief"])]
    assert merging[2] == DESCRIPTION_SAMPLING
    prompts = [told("news long", "informal and brief"), told("film", "questions and brief")]
    assert answering == (prompts, [(1,), (2,)], SAMPLING)


def test_what_agrees_needs_no_merging_and_what_differs_keeps_its_votes(writer: Any, encoder: Any) -> None:
    again = LOG[0].model_copy(update={"id": "again"})
    policy = make_learner(writer, encoder, 2, [*LOG, again])
    assert policy.infer_tastes(["news"]) == ["informal"] and writer.requests == []
    policy.k = 3
    policy.infer_tastes(["news"])
    assert writer.requests[0][0] == [render_merge_prompt(["informal", "informal", "brief"])]


def test_a_merging_that_says_nothing_leaves_the_nearest_taste(writer: Any, encoder: Any) -> None:
    policy = make_learner(writer, encoder, 2)
    writer.answer = lambda prompt, seed: "None."
    assert policy.infer_tastes(["film"]) == ["questions"]


def test_answering_in_a_batch_is_answering_one_by_one(writer: Any, encoder: Any) -> None:
    policy = make_learner(writer, encoder, 2)
    writer.answer = lambda prompt, seed: f"taste {seed}"  # so that a seed that depends on company shows
    contexts: list[Context] = ["news long", "film short", [Message(role="user", content="news film film")]]
    assert policy.respond(contexts, [(1,), (2,), (3,)], SAMPLING) == [
        policy.respond([context], [(row + 1,)], SAMPLING)[0] for row, context in enumerate(contexts)
    ]
    together, alone = writer.requests[1], writer.requests[3::2]
    assert together[0] == [prompt for prompts, _, _ in alone for prompt in prompts]


def test_answering_changes_no_memory(writer: Any, encoder: Any) -> None:
    policy = make_learner(writer, encoder, 3)
    policy.respond(["news"], [(1,)], SAMPLING)
    policy.respond(["film"], [(1,)], SAMPLING)
    policy.respond(["news"], [(1,)], SAMPLING)
    assert writer.requests[:2] == writer.requests[4:]
    assert len(policy.memory) == 3


def test_before_anything_is_learned_it_is_the_writer_itself(writer: Any, encoder: Any) -> None:
    policy = CipherPolicy("cipher", writer, RetrievalMemory(encoder))
    policy.learn([LOG[3]])
    assert policy.respond(["news"], [(1,)], SAMPLING) == ["answer (1,)"]
    assert policy.respond([], [], SAMPLING) == []
    assert writer.requests == [(["news"], [(1,)], SAMPLING)]


def test_an_accepted_answer_of_its_own_confirms_what_it_was_told(writer: Any, encoder: Any) -> None:
    policy = make_learner(writer, encoder, 2)
    kept = EditRecord(id="kept", context="film short", response="Yes", edit="Yes", policy="cipher")
    policy.learn([kept])
    assert writer.requests[0][0] == [render_merge_prompt(["questions", "brief"])]
    assert len(writer.requests) == 1
    policy.k = 1
    assert policy.infer_tastes(["film short"]) == ["questions and brief"]


def test_an_accepted_answer_of_somebody_else_tells_the_taste_by_itself(writer: Any, encoder: Any) -> None:
    policy = make_learner(writer, encoder, 1)
    policy.learn([EditRecord(id="kept", context="film short", response="Yes", edit="Yes", policy="base")])
    assert [prompts for prompts, _, _ in writer.requests] == [[render_inference_prompt("Yes")]]
    assert policy.infer_tastes(["film short", "news"]) == ["like Yes", "informal"]


def test_an_answer_of_its_own_that_it_wrote_untold_does_so_too(writer: Any, encoder: Any) -> None:
    own = EditRecord(id="own", context="news", response="Yes", edit="Yes", policy="cipher")
    assert make_learner(writer, encoder, 1, [own]).infer_tastes(["news"]) == ["like Yes"]


def test_a_row_that_tells_nothing_is_not_remembered(writer: Any, encoder: Any) -> None:
    vain = EditRecord(id="vain", context="news", response="Nix", edit="Nil")
    policy = make_learner(writer, encoder, 1, [*LOG, vain])
    assert len(policy.memory) == 3 and policy.infer_tastes(["news"]) == ["informal"]


def test_mixed_rows_keep_their_own_tastes(writer: Any, encoder: Any) -> None:
    policy = make_learner(writer, encoder, 1, [LOG[0]])
    kept = EditRecord(id="kept", context="paper", response="Yes", edit="Yes")
    own = EditRecord(id="own", context="news long", response="No", edit="No", policy="cipher")
    policy.learn([kept, LOG[1], own, LOG[3], LOG[2]])
    asked = [
        render_inference_prompt("Yes"),
        *(render_inference_prompt(row.response, row.edit) for row in (LOG[1], LOG[2])),
    ]
    assert [prompts for prompts, _, _ in writer.requests] == [asked]
    contexts = ["paper", "film", "news long", "news news film", "news"]
    assert policy.infer_tastes(contexts) == ["like Yes", "questions", "informal", "brief", "informal"]


def test_of_texts_too_long_for_the_writer_it_is_shown_where_they_differ(writer: Any, encoder: Any) -> None:
    same = "As we said. " * 100
    long = EditRecord(id="long", context="news", response=same + "Dear " * 400, edit=same + "Hi " * 400)
    kept = EditRecord(id="kept", context="film", response=same, edit=same)
    room = len(render_inference_prompt("", "")) + 1610
    writer.answer = lambda prompt, seed: "brief"
    CipherPolicy("cipher", writer, RetrievalMemory(encoder), max_characters=room).learn([long])
    CipherPolicy("cipher", writer, RetrievalMemory(encoder), max_characters=room - 1000).learn([kept])
    (shown,), (kept_shown,) = (prompts for prompts, _, _ in writer.requests)
    assert len(shown) <= room and len(kept_shown) <= room - 1000
    assert shown == render_inference_prompt("Dear " * 160, ("Hi " * 400)[:800])
    assert kept_shown == render_inference_prompt(same[:600])
    longer = EditRecord(id="longer", context="news", response=same, edit=f"{same} Bye")
    CipherPolicy("cipher", writer, RetrievalMemory(encoder), max_characters=room).learn([longer])
    assert writer.requests[-1][0] == [render_inference_prompt("", " Bye")]


def test_merging_leaves_out_what_does_not_fit_the_least_similar_first(writer: Any, encoder: Any) -> None:
    memory = make_learner(writer, encoder, 3).memory
    CipherPolicy(
        "small", writer, memory, 3, max_characters=len(render_merge_prompt(["questions", "brief"]))
    ).infer_tastes(["film"])
    assert writer.requests[0][0] == [render_merge_prompt(["questions", "brief"])]
    alone = CipherPolicy("small", writer, memory, 3, max_characters=len(render_merge_prompt(["questions"])))
    assert alone.infer_tastes(["film"]) == ["questions"] and len(writer.requests) == 1


def test_a_chat_is_told_the_taste_before_what_the_user_said_last(writer: Any, encoder: Any) -> None:
    chat = [Message(role="system", content="Be kind"), Message(role="user", content="film")]
    policy = make_learner(writer, encoder, 1)
    writer.answer = lambda prompt, seed: "yes"
    policy.respond([chat], [(1,)], SAMPLING)
    (prompt,) = writer.requests[-1][0]
    assert prompt == [chat[0], Message(role="user", content=f"{render_taste_guidance('questions')}\n\nfilm")]


def test_the_one_who_drafts_describes_and_the_choice_of_drafts_is_for_answers(
    tiny_model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast, encoder: Any
) -> None:
    class NoCostModel:
        """Would be asked to choose a description."""

    drafts = LocalPolicy("tiny", tiny_model, chat_tokenizer)
    policy = CipherPolicy("cipher", BestOfNPolicy("best", drafts, NoCostModel(), 2), RetrievalMemory(encoder), 1)  # type: ignore[arg-type]
    policy.learn(LOG)
    plain = CipherPolicy("plain", drafts, RetrievalMemory(encoder), 1)
    plain.learn(LOG)
    tastes = policy.infer_tastes(["news", "film"])
    assert tastes == plain.infer_tastes(["news", "film"]) and all(tastes)


def test_of_no_context_it_is_no_such_policy(writer: Any, encoder: Any) -> None:
    with pytest.raises(InputError, match=r"cipher: k is 0"):
        CipherPolicy("cipher", writer, RetrievalMemory(encoder), 0)
