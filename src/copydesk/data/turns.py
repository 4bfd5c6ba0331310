"""Context, response and edit out of chats: lists of messages such as `{"role": "user", "content": "..."}`."""

from collections.abc import Mapping, Sequence
from typing import Any

Chat = Sequence[Mapping[str, Any]]


def is_chat(value: Any) -> bool:
    """Whether it is a list of messages, with at least one."""
    return isinstance(value, list) and bool(value) and all(is_message(one) for one in value)


def is_message(value: Any) -> bool:
    """Whether it is one message."""
    return isinstance(value, Mapping) and "role" in value and "content" in value


def split_last_assistant_turn(chat: Chat) -> tuple[Chat, Any, Chat]:
    """The messages before the assistant's last one, what that says, and the messages after it.

    Raises:
        ValueError: there is none.
    """
    for place in reversed(range(len(chat))):
        if chat[place]["role"] == "assistant":
            return chat[:place], chat[place]["content"], chat[place + 1 :]
    raise ValueError("holds no message of the assistant, so there is no response")


def common_prefix(one: Chat, other: Chat) -> Chat:
    """The messages two chats begin with; at least one is left of each."""
    place = 0
    while place < min(len(one), len(other)) - 1 and one[place] == other[place]:
        place += 1
    return one[:place]


def response_text(value: Any, context: Any) -> Any:
    """What is said where the answer is given as a message, or as a chat that ends with it.

    Such a chat holds nothing else, or all of the context. Anything that is neither is given back as it is.

    Raises:
        ValueError: other messages stand before the answer.
    """
    if is_message(value):
        return value["content"]
    if not is_chat(value):
        return value
    *before, last = value
    if before and before not in (context, [{"role": "user", "content": context}]):
        raise ValueError("has messages before its last that are not the context; leave them out")
    return last["content"]
