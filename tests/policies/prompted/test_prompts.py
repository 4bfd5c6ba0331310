import pytest

from copydesk.data.record import Context, EditRecord, Message
from copydesk.policies.prompted.prompts import (
    MAX_DESCRIPTION_CHARACTERS,
    add_guidance,
    clean_description,
    flatten_context,
    render_examples_guidance,
    render_inference_prompt,
    render_merge_prompt,
    render_taste_guidance,
)

CHAT = [
    Message(role="system", content="Be kind."),
    Message(role="user", content="Hello", name="ann"),
    Message(role="assistant", content="Hi"),
]


def test_guidance_comes_before_a_text() -> None:
    assert add_guidance("Write to Ada", "Be brief.") == "Be brief.\n\nWrite to Ada"


def test_in_a_chat_it_comes_before_what_the_user_said_last_and_all_else_stays() -> None:
    context = add_guidance([*CHAT, Message(role="user", content="Bye"), CHAT[2]], "Be brief.")
    assert context == [*CHAT, Message(role="user", content="Be brief.\n\nBye"), CHAT[2]]
    early = add_guidance(CHAT, "Be brief.")
    assert early == [CHAT[0], Message(role="user", content="Be brief.\n\nHello", name="ann"), CHAT[2]]
    assert CHAT[1].content == "Hello"


def test_a_chat_in_which_no_user_speaks_gets_a_message() -> None:
    assert add_guidance(CHAT[:1], "Be brief.") == [CHAT[0], Message(role="user", content="Be brief.")]


@pytest.mark.parametrize("context", ["Write to Ada", CHAT])
def test_no_taste_and_no_example_leave_a_context_as_it_is(context: Context) -> None:
    assert add_guidance(context, render_taste_guidance("")) is context
    assert add_guidance(context, render_examples_guidance([])) is context


def test_a_chat_as_text_is_what_is_said_in_it() -> None:
    assert flatten_context(CHAT) == "Be kind.\n\nHello\n\nHi"
    assert flatten_context("Hello") == "Hello"


def test_examples_stand_with_the_first_next_to_the_request_and_say_what_was_accepted() -> None:
    edited = EditRecord(id="1", context="a", response="Dear Ada", edit="Hi Ada")
    accepted = EditRecord(id="2", context="b", response="Hi Bo", edit="Hi Bo")
    guidance = render_examples_guidance([edited, accepted])
    places = [guidance.index(part) for part in ("left as it was:\nHi Bo", "Draft:\nDear Ada\nChanged to:\nHi Ada")]
    assert places == sorted(places)
    assert guidance.count("Hi Bo") == 1


def test_the_writer_is_asked_with_the_texts_and_the_descriptions_in_their_order() -> None:
    asked = render_inference_prompt("Dear Ada", "Hi Ada")
    assert asked.index("Dear Ada") < asked.index("Hi Ada")
    asked = render_merge_prompt(["brief", "no closing", "brief"])
    assert "- brief\n- no closing\n- brief\n" in asked
    assert "brief" in render_taste_guidance("brief")


@pytest.mark.parametrize(
    ("written", "description"),
    [
        ("short, informal", "short, informal"),
        ('\n  "Short, informal."\nBecause the person ...', "Short, informal"),
        ("Sure! Here is a short phrase: short, informal", "short, informal"),
        ("Certainly.\n\nHere's what I find:\n\n- short\n- no closing\n\nI hope it helps", "short, no closing"),
        ("1. Short.\n2) Informal.", "Short, Informal"),
        ("**Style:** short, informal", "short, informal"),
        ("The person prefers: short, informal", "short, informal"),
        ("Preferred writing style: short", "short"),
        # What only looks like a label is part of the description.
        ("bullet points: one for each fact", "bullet points: one for each fact"),
        ("The reader likes short texts: no closing", "The reader likes short texts: no closing"),
        ("short texts - no closing", "short texts - no closing"),
        ("“kurz und freundlich”", "kurz und freundlich"),
        ("None.", ""),
        ("No preference", ""),
        (" \n\n ", ""),
        ("Sure!", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_description_is_a_bare_phrase(written: str, description: str) -> None:
    assert clean_description(written) == description


def test_a_description_is_capped_at_a_word() -> None:
    words = clean_description("brief, " * 100)
    assert MAX_DESCRIPTION_CHARACTERS - 7 <= len(words) <= MAX_DESCRIPTION_CHARACTERS
    assert words.endswith("brief")
    assert len(clean_description("x" * 1000)) == MAX_DESCRIPTION_CHARACTERS
