import pytest

from copydesk.simulate.users.llm import is_refusal, parse_verdict, strip_thinking, unwrap_reply


@pytest.mark.parametrize(
    "reply",
    [
        "yes",
        "Yes.",
        "YES!",
        " **Yes**\n",
        "Yes, it is.",
        "Yes. There is no closing.",
        "Yes, no changes are needed.",
        "Yes - it reads well",
        "Yes it does",
        "Yes\n\nNo changes are needed.",
        '"Yes"',
        "Answer: yes",
        "The answer is yes.",
        "Yep",
        "yes, because no closing is there",
        "It is informal and short.\n\n**Yes**",
        "\\boxed{yes}",
        "<think>No closing? The taste wants none. So no... yes.</think>\n\nYes",
        "no? no.\n</think>yes",
        "The style fits.\nFinal answer: Yes.",
    ],
)
def test_a_yes(reply: str) -> None:
    assert parse_verdict(reply) is True


@pytest.mark.parametrize(
    "reply",
    [
        "no",
        "No.",
        "**No**",
        "NO!",
        "no, because yes would be a lie",
        "No, yes-men would like it",
        "Not really",
        "Nope.",
        "Not quite: it is too long",
        "Definitely not.",
        "No it is too formal",
        "No – too formal",
        "# No",
        "`no`",
        "My answer: **No**",
        "So, the answer is: no",
        "It reads like a letter.\n\nNo.",
        "No\n\nYes, it is short, but stiff.",
        "<think>\nyes?\n</think>\nNo",
        "No, es demasiado formal.",
    ],
)
def test_a_no(reply: str) -> None:
    assert parse_verdict(reply) is False


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "  \n",
        "Maybe.",
        "Yes/No",
        "Yes and no.",
        "Yes or no?",
        "No one would like it",
        "No-one",
        "No changes are needed",
        "Nobody",
        "Non.",
        "Nein",
        "Ja.",
        "Oui, bien sûr",
        "да",
        "はい",
        "Now it is good",
        "The answer is good",
        "Yesterday",
        "Nonetheless it is fine",
        "It is not good for this reader.",
        "Este texto es demasiado formal",
        "Not bad",
        "...",
        "<think>Yes, I think it is",
        "Hi Ann,\n\nyes, we can meet.",
    ],
)
def test_neither(reply: str) -> None:
    assert parse_verdict(reply) is None


def test_thinking_is_taken_off_and_nothing_else() -> None:
    assert strip_thinking("<think>\n\n</think>\n\nHi Ann") == "Hi Ann"  # Qwen 3 with thinking switched off
    assert strip_thinking("\n</think>\n\nHi Ann") == "Hi Ann"
    assert strip_thinking("\n<think>\nhm\n</think>Hi Ann\n\nUse </think>") == "Hi Ann\n\nUse </think>"
    assert strip_thinking("<think>\nhm\n</think>\n\nHi Ann") == "Hi Ann"
    assert strip_thinking("hm, they want\nit short</think>\nHi Ann\n") == "Hi Ann"
    assert strip_thinking("<think>it never ends") == ""
    assert strip_thinking("Use <think> and </think> around it") == "Use <think> and </think> around it"
    assert strip_thinking("I think so") == "I think so"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "Sorry, I can't.",
        "I cannot fulfill your request.",
        "I can't do that.",
        "I apologize, but I'm unable to rewrite this email as it is about a private matter.",
        "Unfortunately, I cannot provide a revised version of this text.",
        "I am not able to help.",
        "I won't be able to provide a summary of that.",
        "I must decline to rewrite this email.",
        "I'm not comfortable writing such an email.",
        "As an AI language model, I have no taste.",
        "As an AI, I cannot feel.",
        "I'm just an AI and have no friends.",
        "Please provide the email you would like me to revise.",
        "It seems you haven't provided the text.",
    ],
)
def test_a_refusal(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I'm sorry, I can't come on Monday.",
        "I'm sorry I can't help with the move, my back hurts.",
        "Sorry, I can't. My back hurts.",
        "Hi Ann,\n\nI'm sorry, I can't help with that.",
        "Unfortunately, I cannot attend the meeting.",
        "I can't write well, but I love your paper.",
        "I won't be able to meet you.",
        "I must decline your invitation.",
        "As an AI researcher, I liked your paper.",
        "I am an AI researcher, and I liked your paper.",
        "Please provide the figures by Friday.",
        "Please send me your answer on the edits.",
        "You didn't call.",
        "I can't help with that. " + "And here is what happened instead. " * 40,
    ],
)
def test_no_refusal(text: str) -> None:
    assert not is_refusal(text)


EMAIL = 'Hi Ann,\n\nthe "report" is done.\n\nBo'


@pytest.mark.parametrize(
    "reply",
    [
        f"Sure! Here is the revised email:\n\n{EMAIL}",
        f"Sure!\n\nHere’s the revised email:\n\n{EMAIL}\n",
        f"Certainly, here's a revised version that is more casual:\n{EMAIL}",
        f"Here is a more casual version of the email:\n\n{EMAIL}",
        f"Here's the email rewritten in a casual tone:\n\n{EMAIL}",
        f"Sure, here's the email:\n\n{EMAIL}",
        f"I've revised the email to be shorter:\n\n{EMAIL}",
        f"Here is the new answer:\n{EMAIL}",
        f"**Revised email:**\n\n{EMAIL}",
        f"### Revised Email\n\n{EMAIL}",
        f"Revised email: {EMAIL}",
        f"```\n{EMAIL}\n```",
        f"```text\n{EMAIL}\n```\n\nLet me know if it should be shorter!",
        f"Here is the revised email:\n\n```\n{EMAIL}\n```",
        f"Here is the revised email:\n\n---\n\n{EMAIL}\n\n---\n\nLet me know if it should be shorter!",
        f"Here is the revised email:\n\n---\n\n{EMAIL}",
        f"{EMAIL}\n</response>",
        f"{EMAIL} </answer>",
        f"<answer>\n{EMAIL}\n</answer>",
        f"<revised_email>{EMAIL}</revised_email>",
        f"<think>Short, then.</think>\nHere is the revised email:\n\n{EMAIL}",
        f"Short, then.\n</think>\n\n{EMAIL}",
        f"“{EMAIL}”",
        f"\n {EMAIL}\n\n",
        EMAIL,
    ],
)
def test_what_is_around_a_text_is_taken_off(reply: str) -> None:
    assert unwrap_reply(reply, "Dear Ann") == EMAIL


def test_quotes_are_taken_off_where_one_pair_is_around_the_whole() -> None:
    assert unwrap_reply('"Hi Ann, it\'s done."') == "Hi Ann, it's done."
    assert unwrap_reply('"""\nHi Ann\n"""') == "Hi Ann"
    assert unwrap_reply("«Salut Ann»") == "Salut Ann"
    for text in ('"Done" is what "we" said: "done"', '"Done," said Bo.', "'Tis done'", '"', '"Done'):
        assert unwrap_reply(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Here is the report you asked for:\n\nhttp://files/report",
        "Here is the report you asked for.\nBo",
        "Here is the email address of Ann:\n\nann@example.org",
        "Here is the summary of the meeting:\n\n- we met",
        "Here is the revised report for the board:\n\nhttp://files/report",
        "Sure! See you on Monday.\n\nBo",
        "Sure, here are the notes:\n- one\n- two",
        "Subject: Revised email\n\nHi Ann",
        "The revised text of the law:\nit says little, as revised texts of laws do: nothing.\n\nBo".replace(
            ":\n", ", "
        ),
        "Summary:\n- one\n- two",
        "Hi Ann,\n\n```\nmake demo\n```\n\nBo",
        "```\nmake demo\n```\n\nThat runs all of it.",
        "<b>Hi</b> Ann, and <b>Bo</b>",
        "<p>Hi Ann</p>",
        "Here is the revised email:",
        "- one\n---\n- two",
        "Let me know if you need more!",
        "I've revised the plan:\n- one",
    ],
)
def test_a_text_that_only_looks_wrapped_is_left_as_it_is(text: str) -> None:
    assert unwrap_reply(text) == text


@pytest.mark.parametrize("wrap", ["Here is the revised email:\n\n{}", '"{}"', "```\n{}\n```", "<text>{}</text>"])
def test_what_the_response_had_around_it_belongs_to_the_text(wrap: str) -> None:
    assert unwrap_reply(wrap.format("Hi Ann"), wrap.format("Dear Ann")) == wrap.format("Hi Ann")
    assert unwrap_reply(wrap.format("Hi Ann"), "Dear Ann") == "Hi Ann"
