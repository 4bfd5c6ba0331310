import logging
from dataclasses import replace
from typing import Any

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.data.record import Context, EditRecord, Message
from copydesk.errors import InputError
from copydesk.policies import LocalPolicy, PolicyResponse, Sampling, collect_responses
from copydesk.policies.prompted import IclPolicy, Learner, RetrievalMemory
from copydesk.policies.prompted.prompts import add_guidance, flatten_context, render_examples_guidance

LOG = [
    EditRecord(id="news", context="news", response="Dear Ada", edit="Hi Ada"),
    EditRecord(id="film", context="film film", response="A film", edit="Film: yes"),
    EditRecord(id="mixed", context="news news film", response="Both", edit="Both"),
    EditRecord(id="late", context="paper", response="A paper", edit=None),
]
SAMPLING = Sampling(temperature=0.7, max_new_tokens=20)


def make_learner(writer: Any, encoder: Any, k: int = 2, **options: Any) -> IclPolicy:
    policy = IclPolicy("icl", writer, RetrievalMemory(encoder), k, **options)
    policy.learn(LOG)
    return policy


def test_the_nearest_edits_stand_in_the_prompt_and_pending_rows_in_none(writer: Any, encoder: Any) -> None:
    policy: Learner = make_learner(writer, encoder)
    contexts = ["news long", "film", "paper"]
    responses = policy.respond(contexts, [(1,), (2,), (3,)], SAMPLING)
    assert responses == ["answer (1,)", "answer (2,)", "answer (3,)"]
    nearest = [[LOG[0], LOG[2]], [LOG[1], LOG[2]], [LOG[2], LOG[1]]]
    prompts = [
        add_guidance(context, render_examples_guidance(near)) for context, near in zip(contexts, nearest, strict=True)
    ]
    assert writer.requests == [(prompts, [(1,), (2,), (3,)], SAMPLING)]


def test_answering_in_a_batch_is_answering_one_by_one(writer: Any, encoder: Any) -> None:
    policy = make_learner(writer, encoder)
    contexts: list[Context] = ["news long", "film short", [Message(role="user", content="news film film")]]
    policy.respond(contexts, [(1,), (2,), (3,)], SAMPLING)
    for row, context in enumerate(contexts):
        policy.respond([context], [(row + 1,)], SAMPLING)
    together, *alone = [prompts for prompts, _, _ in writer.requests]
    assert together == [prompt for prompts in alone for prompt in prompts]


def test_before_anything_is_learned_it_is_the_writer_itself(writer: Any, encoder: Any) -> None:
    policy = IclPolicy("icl", writer, RetrievalMemory(encoder))
    assert policy.respond(["news"], [(1,)], SAMPLING) == ["answer (1,)"]
    assert policy.respond([], [], SAMPLING) == []
    assert writer.requests == [(["news"], [(1,)], SAMPLING)]


def test_answers_are_trimmed_where_they_begin_to_repeat(writer: Any, encoder: Any) -> None:
    writer.answer = lambda prompt, seed: "round and round and round"
    policy = make_learner(writer, encoder)
    answers = collect_responses(policy, ["news"], [(1,)], replace(SAMPLING, trim_repeats=4))
    assert answers == [PolicyResponse("round and ", False, True)]


def test_answering_changes_no_memory_and_learning_row_by_row_is_learning_all(writer: Any, encoder: Any) -> None:
    policy, slowly = make_learner(writer, encoder), IclPolicy("icl", writer, RetrievalMemory(encoder), 2)
    for record in LOG:
        slowly.respond(["news"], [(1,)], SAMPLING)
        slowly.learn([record])
    assert len(policy.memory) == len(slowly.memory) == 3
    writer.requests.clear()
    for one in (policy, policy, slowly):
        one.respond(["news"], [(1,)], SAMPLING)
    assert writer.requests[0] == writer.requests[1] == writer.requests[2]


def test_an_edit_counts_from_the_next_answer_on(writer: Any, encoder: Any) -> None:
    policy = make_learner(writer, encoder, k=1)
    policy.learn([EditRecord(id="new", context="news", response="Dear Bo", edit="Yo Bo")])
    policy.respond(["news"], [(1,)], SAMPLING)
    assert "Yo Bo" in writer.requests[-1][0][0] and "Hi Ada" not in writer.requests[-1][0][0]


def test_a_chat_gets_its_examples_before_what_the_user_said_last(writer: Any, encoder: Any) -> None:
    chat = [Message(role="system", content="Be kind"), Message(role="user", content="film")]
    make_learner(writer, encoder, k=1).respond([chat], [(1,)], SAMPLING)
    (prompt,) = writer.requests[-1][0]
    assert prompt[0] == chat[0]
    assert prompt[1].content == f"{render_examples_guidance([LOG[1]])}\n\nfilm"


def test_what_does_not_fit_is_dropped_the_least_similar_first_and_said(
    writer: Any, encoder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    whole = len(flatten_context(add_guidance("news", render_examples_guidance([LOG[0], LOG[2]]))))
    one = len(flatten_context(add_guidance("news", render_examples_guidance([LOG[0]]))))
    shown = []
    with caplog.at_level(logging.WARNING):
        for characters in (whole, whole - 1, one, one - 1):
            make_learner(writer, encoder, max_characters=characters).respond(["news"], [(1,)], SAMPLING)
            shown.append(writer.requests[-1][0][0])
    kept = [add_guidance("news", render_examples_guidance(examples)) for examples in ([LOG[0], LOG[2]], [LOG[0]])]
    assert shown == [kept[0], kept[1], kept[1], "news"]
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "icl: 1 of 1 prompts have fewer examples than 2"
    ] * 3


def test_a_model_in_this_process_must_have_room_for_prompt_and_response(
    tiny_model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = LocalPolicy("tiny", tiny_model, chat_tokenizer)
    asked: list[Context] = []
    monkeypatch.setattr(policy, "respond", lambda prompts, seeds, sampling: asked.extend(prompts) or [""])
    examples = add_guidance("news", render_examples_guidance([LOG[0]]))
    tokens = len(policy.encode([examples])[0])
    for room in (tokens + 9, tokens + 10):
        tiny_model.config.max_position_embeddings = room
        make_learner(policy, encoder, k=1).respond(["news"], [(1,)], Sampling(max_new_tokens=10))
    assert asked == ["news", examples]


def test_of_no_example_it_is_no_such_policy(writer: Any, encoder: Any) -> None:
    with pytest.raises(InputError, match=r"icl: k is 0"):
        IclPolicy("icl", writer, RetrievalMemory(encoder), 0)
