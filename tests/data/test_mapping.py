from datetime import UTC, datetime
from typing import Any

import pytest

from copydesk.data.mapping import IDENTITY_MAPPING, FieldMapping, guess_mapping
from copydesk.data.record import EditRecord, Message
from copydesk.errors import InputError

QUESTION = {"role": "user", "content": "q"}
DRAFT = {"role": "assistant", "content": "r"}
EDITED = {"role": "assistant", "content": "e"}


def record(row: dict[str, Any], *, texts: bool = False, **given: str) -> EditRecord:
    return guess_mapping([row], given, texts=texts).build_record(row, "default")


def error(row: dict[str, Any], sample: dict[str, Any] | None = None, *, texts: bool = False, **given: str) -> str:
    mapping = guess_mapping([row if sample is None else sample], given, texts=texts)
    with pytest.raises(ValueError) as raised:
        mapping.build_record(row, "default")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def refusal(row: dict[str, Any], **given: str) -> str:
    with pytest.raises(InputError) as raised:
        guess_mapping([row], given)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# -- the shapes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"context": "q", "response": "r", "edit": "e"},
        {"prompt": "q", "chosen": "e", "rejected": "r"},
        {"input": "q", "output": "r", "correction": "e"},
        {"prompt": "q", "completion": "r", "edited": "e"},
        {"prompt": "q", "chosen": [EDITED], "rejected": [DRAFT]},
        {"prompt": "q", "chosen": [QUESTION, EDITED], "rejected": [QUESTION, DRAFT]},
        {"prompt": "q", "completion": DRAFT, "edited": EDITED},
    ],
)
def test_texts_after_a_text(row: dict[str, Any]) -> None:
    assert record(row) == EditRecord(id="default", context="q", response="r", edit="e")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [QUESTION], "chosen": [EDITED], "rejected": [DRAFT]},
        {"chosen": [QUESTION, EDITED], "rejected": [QUESTION, DRAFT]},
        {"messages": [QUESTION, DRAFT], "edit": "e"},
        {"messages": [QUESTION, DRAFT], "edit": EDITED},
        {"messages": [QUESTION, DRAFT], "edited": [QUESTION, EDITED]},
        {"messages": [QUESTION], "response": "r", "edit": "e"},
    ],
)
def test_chats(row: dict[str, Any]) -> None:
    chat = (Message(role="user", content="q"),)
    assert record(row) == EditRecord(id="default", context=chat, response="r", edit="e")


def test_an_accepted_pair_and_a_pending_chat() -> None:
    pair = record({"chosen": [QUESTION, DRAFT], "rejected": [QUESTION, DRAFT]})
    assert (pair.accepted, pair.context) == (True, (Message(role="user", content="q"),))
    assert record({"messages": [QUESTION, DRAFT]}).pending


def test_without_a_context_it_is_the_empty_text() -> None:
    row = {"original": "r", "edited": "e"}
    assert record(row) == EditRecord(id="default", context="", response="r", edit="e")
    assert ("context", "", "no key: the empty text") in guess_mapping([row], {}).describe()


def test_messages_after_the_response_are_kept() -> None:
    row = record({"messages": [QUESTION, DRAFT, QUESTION], "edit": "e"})
    assert (row.response, row.metadata) == ("r", {"messages_after": [QUESTION]})


def test_a_row_of_another_kind_than_the_first_is_judged_by_itself() -> None:
    assert error({"messages": [QUESTION]}, {"messages": [QUESTION, DRAFT]}) == (
        "field 'messages' (the context) holds no message of the assistant, so there is no response"
    )
    assert "'chosen' (the edit) has messages before its last" in error(
        {"prompt": "q", "rejected": "r", "chosen": [QUESTION, DRAFT, QUESTION, EDITED]}
    )


# -- which key is which field ------------------------------------------------------------------------------------------


def test_keys_that_are_given_win_over_names() -> None:
    row = {"prompt": "not this", "q": "q", "completion": "r", "meta": {"by": {"user": "u"}, "lang": "en"}}
    found = record(row, context="q", user="meta.by.user")
    assert (found.context, found.user) == ("q", "u")
    assert found.metadata == {"prompt": "not this", "meta": {"lang": "en"}}


def test_the_response_as_a_message_of_the_chat() -> None:
    row = {"messages": [QUESTION, {"role": "model", "content": "r"}], "edit": "e"}
    found = record(row, response="messages[-1].content")
    assert (found.context, found.response) == ((Message(role="user", content="q"),), "r")


def test_none_says_that_there_is_no_such_field() -> None:
    row = {"id": "a", "context": "c", "response": "r", "edit": "e"}
    found = record(row, edit="none", id="none")
    assert found == EditRecord(id="default", context="c", response="r", metadata={"id": "a", "edit": "e"})


def test_a_field_the_first_rows_have_not_is_found_when_it_comes() -> None:
    mapping = guess_mapping([{"prompt": "q", "completion": "r"}], {})
    found = mapping.build_record({"prompt": "q", "completion": "r", "edited": "e", "user_id": 7}, "default")
    assert (found.edit, found.user) == ("e", "7")
    with pytest.raises(ValueError, match=r"fields 'edited' and 'chosen' both mean 'edit'; keep one of them"):
        mapping.build_record({"prompt": "q", "completion": "r", "edited": "e", "chosen": "e"}, "default")


def test_two_keys_that_could_be_one_field_are_named_with_the_flag_that_decides() -> None:
    row = {"prompt": "q", "question": "q", "response": "r"}
    assert refusal(row) == ("fields 'prompt' and 'question' could each be the context; choose one with --context KEY")
    assert record(row, context="prompt").metadata == {"question": "q"}


@pytest.mark.parametrize(
    ("row", "given", "says"),
    [
        (
            {"a": 1},
            {"response": "b"},
            "--response b: none of the first rows has it; the keys of the first rows are 'a'",
        ),
        ({"a": 1}, {"created_at": "a.b"}, "--created-at a.b: none of the first rows has it"),
        ({"context": "c", "edit": "e"}, {}, "no key could be the response; name it with --response KEY"),
        ({"a": "r"}, {"metadata": "a"}, "'metadata' is not a field that a key can be named for"),
        ({}, {}, "no row could be read"),
    ],
)
def test_what_cannot_be_mapped_is_one_line(row: dict[str, Any], given: dict[str, str], says: str) -> None:
    assert says in refusal(row, **given)


def test_what_is_shown_before_an_import() -> None:
    row = {"prompt": "q", "rejected": "r", "chosen": "e", "by": "u", "lang": "en", "metadata": {}}
    assert guess_mapping([row], {"user": "by"}).describe() == [
        ("id", "", "no key: made from the content"),
        ("context", "prompt", "guessed from its name"),
        ("response", "rejected", "guessed from its name"),
        ("edit", "chosen", "guessed from its name"),
        ("user", "by", "given by --user"),
        ("metadata", "lang", "all other keys"),
    ]
    chat = guess_mapping([{"id": 1, "messages": [QUESTION, DRAFT]}], {}).describe()
    assert chat == [
        ("id", "id", "its own name"),
        ("context", "messages", "guessed from its name: the messages before the response"),
        ("response", "messages", "the assistant's last message"),
        ("edit", "", "no key: every row is pending"),
    ]
    pair = guess_mapping([{"chosen": [QUESTION, EDITED], "rejected": [QUESTION, DRAFT]}], {}).describe()
    assert ("context", "rejected, chosen", "the messages they begin with") in pair
    cells = guess_mapping([{"original": "r", "edited": "e"}], {}, texts=True).describe()
    assert ("edit", "edited", "guessed from its name; an empty cell is pending") in cells


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "q", "draft": 3}, "field 'draft' (the response) must be text; found the number 3"),
        ({"prompt": "q", "draft": None}, "field 'draft' (the response) must be text; found null"),
        ({"prompt": None, "draft": "r"}, "field 'prompt' (the context) must be text, or a list of chat messages"),
        ({"prompt": "q", "draft": "r", "edit": {}}, "field 'edit' must be text (the response itself"),
        ({"prompt": "q", "draft": "r", "id": ""}, "field 'id' must be text that is not empty, or an integer"),
        ({"prompt": "q", "draft": "r", "propensity": "0.5"}, "field 'propensity' must be a number above 0"),
        ({"prompt": "q", "draft": "r", "created_at": "soon"}, "field 'created_at' must be a date and time"),
        ({"prompt": "q", "draft": "r", "metadata": "m"}, "field 'metadata' must be an object; found the text 'm'"),
        ({"prompt": "q", "draft": "r", "metadata": {"k": 1}, "k": 2}, "field 'k' appears both beside 'metadata'"),
        ({"prompt": "q", "draft": "r", "cost": -0.5}, "field 'cost' must be a number of at least 0, or null; found"),
        ({"prompt": "q", "draft": "r", "cost": float("nan")}, "field 'cost' must be a number of at least 0"),
        ({"prompt": "q", "draft": "r", "cost": True}, "field 'cost' must be a number of at least 0"),
        ({"prompt": "q", "draft": "r", "cost": "0.5"}, "field 'cost' must be a number of at least 0"),
    ],
)
def test_a_wrong_value_is_one_clause(row: dict[str, Any], says: str) -> None:
    assert error(row).startswith(says)


def test_a_missing_field_is_named_by_its_key() -> None:
    assert error({"prompt": "q"}, {"prompt": "q", "draft": "r"}) == (
        "field 'draft' (the response) is missing; every row needs context and response"
    )


def test_other_keys_and_a_good_cost_go_into_the_metadata() -> None:
    row = {"context": "c", "response": "r", "cost": 0.5, "k": None, "metadata": {"lang": "en"}}
    assert record(row).metadata == {"lang": "en", "cost": 0.5, "k": None}
    assert record({"context": "c", "response": "r", "metadata": '{"lang": "en"}'}).metadata == {"lang": "en"}


def test_texts_are_read_as_what_they_say() -> None:
    cells = {
        "id": "1",
        "prompt": "",
        "draft": "",
        "edit": "",
        "user": "",
        "policy": "p",
        "propensity": "0.25",
        "created_at": "2026-01-31T12:00:00Z",
        "metadata": "",
        "cost": "0.5",
        "rating": "5",
        "note": "",
    }
    assert record(cells, texts=True) == EditRecord(
        id="1",
        context="",
        response="",
        policy="p",
        propensity=0.25,
        created_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        metadata={"cost": 0.5, "rating": "5"},
    )


def test_texts_that_do_not_say_a_number() -> None:
    cells = {"prompt": "q", "draft": "r", "propensity": "0.5", "cost": ""}
    assert record(cells, texts=True).propensity == 0.5
    assert "'propensity' must be a number above 0" in error({**cells, "propensity": "half"}, texts=True)
    assert "'propensity' must be a number above 0" in error({**cells, "propensity": "nan"}, texts=True)
    assert "'cost' must be a number of at least 0" in error({**cells, "cost": "inf"}, texts=True)


def test_a_chat_that_is_written_as_text() -> None:
    row = {"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]', "edit": "e"}
    found = record(row, texts=True)
    assert (found.context, found.response) == ((Message(role="user", content="q"),), "r")
    assert record({"context": row["messages"], "response": "r"}).context == row["messages"]


def test_rows_that_have_the_names_already() -> None:
    row = {"id": "a", "context": "c", "response": "r", "edit": "e", "user": "u", "output": "kept"}
    assert isinstance(IDENTITY_MAPPING, FieldMapping)
    assert IDENTITY_MAPPING.build_record(row, "default") == EditRecord(
        id="a", context="c", response="r", edit="e", user="u", metadata={"output": "kept"}
    )
    with pytest.raises(ValueError, match=r"field 'response' is missing"):
        IDENTITY_MAPPING.build_record({"context": "c"}, "default")
