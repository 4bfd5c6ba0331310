import pytest

from copydesk.log.turns import answer, common_beginning, is_chat, last_answer

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}


@pytest.mark.parametrize("value", [[], ["text"], "text", None, USER, [{"role": "user"}]])
def test_what_is_no_chat(value: object) -> None:
    assert not is_chat(value)


def test_the_last_answer_with_what_stands_before_and_after_it() -> None:
    assert last_answer([USER, ANSWER, USER, OTHER, USER]) == ([USER, ANSWER, USER], "b", [USER])
    with pytest.raises(ValueError, match=r"no message of the assistant"):
        last_answer([USER])


def test_a_common_beginning_leaves_an_answer_to_both() -> None:
    assert common_beginning([USER, ANSWER], [USER, OTHER]) == [USER]
    assert common_beginning([USER, ANSWER], [USER, ANSWER]) == [USER]
    assert common_beginning([ANSWER], [OTHER]) == []


@pytest.mark.parametrize("value", [ANSWER, [ANSWER], [USER, ANSWER]])
@pytest.mark.parametrize("context", ["q", [USER]])
def test_an_answer_as_message_or_as_chat(value: object, context: object) -> None:
    assert answer(value, context) == "a"


def test_other_messages_before_an_answer_are_no_answer() -> None:
    with pytest.raises(ValueError, match=r"messages before its last that are not the context"):
        answer([OTHER, ANSWER], "q")
