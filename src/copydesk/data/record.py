"""One logged edit: what was asked, what the policy answered, what the person made of it."""

from collections.abc import Sequence
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
