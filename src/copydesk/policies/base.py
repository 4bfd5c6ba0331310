"""The interface of a policy: a name, and responses to contexts, with the parameters of sampling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from copydesk.data.record import Context
from copydesk.data.repetition import check_repeat_length, trim_repeats
from copydesk.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters of responses.

    Attributes:
        temperature: divides the logits; 1 samples from π itself, 0 always takes the likeliest token.
        max_new_tokens: the most tokens of a response; a longer one is cut off.
        batch_size: contexts answered in one batch; it changes the speed only (up to rounding).
        trim_repeats: cut each response where it begins to repeat this many characters; 0 never. See
            `copydesk.data.repetition`.
    """

    temperature: float = 1.0
    max_new_tokens: int = 512
    batch_size: int = 128
    trim_repeats: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature: {self.temperature} must be at least 0")
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)} must be at least 1")
        check_repeat_length(self.trim_repeats)


class PolicyResponse(NamedTuple):
    """A response.

    Attributes:
        text: the response as text.
        truncated: whether the token limit cut it off.
        trimmed: whether it was cut where it began to repeat itself.
    """

    text: str
    truncated: bool
    trimmed: bool = False

    def trim(self, length: int) -> "PolicyResponse":
        """The response cut where it begins to repeat `length` characters; 0 never."""
        text = trim_repeats(self.text, length)
        return self if text == self.text else PolicyResponse(text, self.truncated, True)


class Policy(Protocol):
    """Answers contexts. A policy is immutable: a retrained one has a new name."""

    @property
    def name(self) -> str:
        """The policy's name as an arm and in the log."""
        ...

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context. `seeds[i]` alone decides the randomness of the i-th.

        A policy that knows nothing of `sampling.trim_repeats` may ignore it: `collect_responses` trims for it.
        """
        ...
