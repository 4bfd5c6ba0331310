"""One logged edit: what was asked, what the policy answered, what the person made of it.

Context, response and edit out of chats: lists of messages such as `{"role": "user", "content": "..."}`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _stringify_integer(value: Any) -> Any:
    """Ids that count (1, 2, 3, ...) are common in logs; anything else is left for the check of the type."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _assume_utc(moment: datetime) -> datetime:
    """Read a moment without a time zone as UTC, so that any two can be compared."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Name = Annotated[str, BeforeValidator(_stringify_integer), Field(min_length=1)]
"""Text that names a row, a person or a policy: not empty; an integer is taken as its digits."""


class Message(BaseModel):
    """One turn of a chat, as in the OpenAI format; further keys (`name`, ...) are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    role: str
    content: str


Context = str | Sequence[Message]
"""What a policy is given: text, or the messages of a chat."""


class EditRecord(BaseModel):
    """One row of the log.

    Attributes:
        id: names the row within its log.
        context: what the policy was given: text, or the chat messages.
        response: what it answered; may be empty.
        edit: what the person turned the response into; `None` while that is not known yet (*pending*).
        user: who edited.
        policy: which policy answered.
        propensity: with what probability that policy was chosen, in (0, 1].
        created_at: when it answered; without a time zone it is read as UTC.
        metadata: whatever else the product keeps beside it; JSON values.

    Raises:
        pydantic.ValidationError: a field is missing, unknown or of the wrong type. (`read_jsonl` says it as an
            `InputError` with file and line.)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Name
    context: str | Annotated[tuple[Message, ...], Field(min_length=1)]
    response: str
    edit: str | None = None
    user: Name | None = None
    policy: Name | None = None
    propensity: Annotated[float, Field(strict=True, gt=0, le=1)] | None = None
    created_at: Annotated[datetime, AfterValidator(_assume_utc)] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @property
    def pending(self) -> bool:
        """Whether it is still unknown what the person did with the response; such a row has no cost."""
        return self.edit is None

    @property
    def accepted(self) -> bool:
        """Whether the person kept the response exactly as it was."""
        return self.edit == self.response

    @property
    def edited(self) -> bool:
        """Whether the person changed the response."""
        return self.edit is not None and self.edit != self.response


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
