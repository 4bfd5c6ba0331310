"""The edit record: one row of the log with context, response and edit; and helpers for chats.

A chat is a list of messages such as `{"role": "user", "content": "..."}`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _stringify_integer(value: Any) -> Any:
    """Integer ids (1, 2, 3, ...) are common in logs; anything else is left to the type check."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _assume_utc(moment: datetime) -> datetime:
    """Read a time without a time zone as UTC, so that any two can be compared."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Name = Annotated[str, BeforeValidator(_stringify_integer), Field(min_length=1)]
"""Text that names a row, a person or a policy: not empty; an integer is taken as its digits."""


class Message(BaseModel):
    """One turn of a chat, as in the OpenAI format; further keys (`name`, ...) are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    role: str
    content: str


Context = str | Sequence[Message]
"""The input of a policy: text, or the messages of a chat."""


class EditRecord(BaseModel):
    """One row of the log.

    Attributes:
        id: unique within its log.
        context: the input of the policy: text, or chat messages.
        response: the policy's output; may be empty.
        edit: the person's version of the response; `None` while it is not known yet (*pending*).
        user: the person who edited.
        policy: the policy that answered.
        propensity: the probability with which that policy was chosen, in (0, 1].
        created_at: the time of the response; without a time zone it is read as UTC.
        metadata: anything else the product keeps with the row; JSON values.

    Raises:
        pydantic.ValidationError: a field is missing, unknown or of the wrong type. (`read_jsonl` turns it into an
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
        """Whether the edit is not known yet; such a row has no cost."""
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
    """Whether a value is a list of at least one message."""
    return isinstance(value, list) and bool(value) and all(is_message(one) for one in value)


def is_message(value: Any) -> bool:
    """Whether a value is one message."""
    return isinstance(value, Mapping) and "role" in value and "content" in value


def split_last_assistant_turn(chat: Chat) -> tuple[Chat, Any, Chat]:
    """The messages before the assistant's last one, its content, and the messages after it.

    Raises:
        ValueError: there is none.
    """
    for place in reversed(range(len(chat))):
        if chat[place]["role"] == "assistant":
            return chat[:place], chat[place]["content"], chat[place + 1 :]
    raise ValueError("holds no message of the assistant, so there is no response")


def common_prefix(one: Chat, other: Chat) -> Chat:
    """The messages that two chats begin with; at least one of each chat is left out of it."""
    place = 0
    while place < min(len(one), len(other)) - 1 and one[place] == other[place]:
        place += 1
    return one[:place]


def response_text(value: Any, context: Any) -> Any:
    """The text of an answer that is given as a message, or as a chat that ends with it.

    Such a chat holds nothing else, or the whole context before it. Any other value is returned as it is.

    Raises:
        ValueError: there are other messages before the answer.
    """
    if is_message(value):
        return value["content"]
    if not is_chat(value):
        return value
    *before, last = value
    if before and before not in (context, [{"role": "user", "content": context}]):
        raise ValueError("has messages before its last that are not the context; leave them out")
    return last["content"]
