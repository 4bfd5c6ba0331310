"""Chat messages as OpenAI's interfaces write them, read strictly.

What is not text cannot be learnt from, so that it is a fault here; the store, which must take in whatever was answered,
passes over it (`copydesk.store.read.extract_text`).
"""

from typing import Any

_TEXT_PARTS = {"text", "input_text", "output_text"}


def parse_chat_messages(messages: list[Any]) -> list[dict[str, Any]]:
    """Chat messages whose content is text; their other keys are kept.

    Raises:
        ValueError: one is not a message, or holds something that is not text.
    """
    chat = []
    for message in messages:
        if get_message_role(message) is None:
            raise ValueError('a message is not an object with a role; write {"role": "user", "content": "..."}')
        others = {key: value for key, value in message.items() if value is not None}
        chat.append({**others, "content": parse_text_content(message.get("content"))})
    return chat


def parse_assistant_text(message: Any) -> str:
    """The text of an assistant's message.

    Raises:
        ValueError: it holds none.
    """
    if not isinstance(message, dict):
        raise ValueError('the answer is not a message; write {"role": "assistant", "content": "..."}')
    if message.get("content") is not None:
        return parse_text_content(message["content"])
    if isinstance(message.get("refusal"), str):
        return str(message["refusal"])
    what = "a tool call" if message.get("tool_calls") or message.get("function_call") else "empty"
    raise ValueError(f"the answer is {what}, not text; leave the row out")


def parse_text_content(content: Any) -> str:
    """The text of a message's content, which may be in parts; null is the empty text.

    Raises:
        ValueError: a part is not text.
    """
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            return "".join(_parse_part(part) for part in content)
        case _:
            raise ValueError("the content of a message must be text or a list of parts")


def _parse_part(part: Any) -> str:
    match part:
        case str():
            return part
        case {"type": str(kind), "text": str(text)} if kind in _TEXT_PARTS:
            return text
        case {"type": "refusal", "refusal": str(text)}:
            return text
        case {"type": str(kind)}:
            raise ValueError(
                f"a message holds a part of type {kind!a}; only text can be learnt from, leave the row out"
            )
        case _:
            raise ValueError("a part of a message has no type; only text can be learnt from, leave the row out")


def get_message_role(message: Any) -> str | None:
    """Who says a message; `None` where it is not a message."""
    role = message.get("role") if isinstance(message, dict) else None
    return role if isinstance(role, str) else None
