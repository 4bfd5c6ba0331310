import pytest

from copydesk.data.record import common_prefix, is_chat, response_text, split_last_assistant_turn

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}


@pytest.mark.parametrize("value", [[], ["text"], "text", None, USER, [{"role": "user"}]])
def test_what_is_no_chat(value: object) -> None:
    assert not is_chat(value)


def test_the_last_answer_with_what_stands_before_and_after_it() -> None:
    assert split_last_assistant_turn([USER, ANSWER, USER, OTHER, USER]) == ([USER, ANSWER, USER], "b", [USER])
    with pytest.raises(ValueError, match=r"no message of the assistant"):
        split_last_assistant_turn([USER])


def test_a_common_beginning_leaves_an_answer_to_both() -> None:
    assert common_prefix([USER, ANSWER], [USER, OTHER]) == [USER]
    assert common_prefix([USER, ANSWER], [USER, ANSWER]) == [USER]
    assert common_prefix([ANSWER], [OTHER]) == []


@pytest.mark.parametrize("value", [ANSWER, [ANSWER], [USER, ANSWER]])
@pytest.mark.parametrize("context", ["q", [USER]])
def test_an_answer_as_message_or_as_chat(value: object, context: object) -> None:
    assert response_text(value, context) == "a"


def test_other_messages_before_an_answer_are_no_answer() -> None:
    with pytest.raises(ValueError, match=r"messages before its last that are not the context"):
        response_text([OTHER, ANSWER], "q")
