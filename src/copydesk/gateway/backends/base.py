"""What the gateway asks of a policy: to answer a chat completion request, whole or as a stream."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


class PolicyBackend(Protocol):
    """A policy that answers in OpenAI's schema.

    `request` is the body of `POST /v1/chat/completions` as the client sent it, checked to hold messages and to ask for
    one choice. What comes back is OpenAI's too; the gateway sets `id` and `model` itself.
    """

    @property
    def name(self) -> str:
        """The name it has as an arm and in the log."""
        ...

    async def complete(self, request: Json) -> Json:
        """The whole `chat.completion` object. Cancelling the task stops the work.

        Raises:
            PolicyFault: there is no answer.
        """
        ...

    def stream(self, request: Json) -> AsyncIterator[Json]:
        """The `chat.completion.chunk` objects, one by one. Closing the iterator stops the work.

        Raises:
            PolicyFault: there is no answer, or it broke off.
        """
        ...

    async def close(self) -> None:
        """Let go of what it holds: connections, memory."""
        ...


@dataclass
class BackendError(Exception):
    """Why a policy gave no answer.

    Attributes:
        status: the HTTP status the client is to see, if no other policy can help.
        message: one line for the client.
        retriable_elsewhere: whether it is the policy's failure. If not, the request is to blame (its parameters, its
            length): any other policy would refuse it as well, and the arm is not rested.
        code: OpenAI's error code, such as `context_length_exceeded`.
        param: the field of the request that is to blame.
        retry_after: seconds the policy asked to be left alone for.
    """

    status: int
    message: str
    retriable_elsewhere: bool = True
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        return self.message
