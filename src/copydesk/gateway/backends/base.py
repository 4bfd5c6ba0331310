"""Interface of a policy backend: it answers a chat completion request, whole or as a stream."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


class PolicyBackend(Protocol):
    """A policy that answers in OpenAI's schema.

    `request` is the body of `POST /v1/chat/completions` as the client sent it, validated by `ChatRequest`. The answer
    is in OpenAI's schema too; the gateway sets `id` and `model` itself.
    """

    @property
    def name(self) -> str:
        """The policy's name as an arm and in the log."""
        ...

    async def complete(self, request: Json) -> Json:
        """The whole `chat.completion` object. Cancelling the task stops the work.

        Raises:
            BackendError: there is no answer.
        """
        ...

    def stream(self, request: Json) -> AsyncIterator[Json]:
        """The `chat.completion.chunk` objects, one by one. Closing the iterator stops the work.

        Raises:
            BackendError: there is no answer, or it broke off.
        """
        ...

    async def check(self) -> None:
        """Check that the policy can be reached now; it generates nothing.

        Raises:
            BackendError: it cannot.
        """
        ...

    async def close(self) -> None:
        """Release connections and memory."""
        ...


@dataclass
class BackendError(Exception):
    """A policy gave no answer.

    Attributes:
        status: the HTTP status for the client, if no other policy answers.
        message: one line for the client.
        retriable_elsewhere: whether the policy failed. If not, the request is invalid (its parameters, its length):
            every other policy would refuse it as well, and the arm gets no cooldown.
        code: OpenAI's error code, such as `context_length_exceeded`.
        param: the field of the request that is invalid.
        retry_after: seconds after which the policy asked to be tried again.
    """

    status: int
    message: str
    retriable_elsewhere: bool = True
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        return self.message
