"""What policy optimisation can be told."""

from dataclasses import dataclass
from typing import Literal, get_args

from copydesk.errors import InputError

VllmMode = Literal["off", "colocate", "server"]
"""Who writes the policy's responses while it learns: the policy itself, vLLM beside it, or a vLLM server."""


@dataclass(frozen=True)
class RlConfig:
    """Every setting of policy optimisation that no other method has.

    Attributes:
        epochs: passes over the log's contexts. Each draws fresh responses, and more passes exploit the cost model more.
        responses: the policy's responses of an optimizer step, of all processes together.
        generations: responses to each context in a step; each one's baseline is the mean reward of the others.
        max_new_tokens: where a response that does not end is cut off, for which it pays the largest cost. `None` is
            the longest answer in the log.
        cost_model: the folder of a cost model made earlier; `None` makes one first.
        vllm: write responses with vLLM, as TRL offers it; `server` is one started with `trl vllm-serve`.
        vllm_url: where that server is.

    Raises:
        InputError: a value makes no sense; the message names the setting.
    """

    epochs: float = 1.0
    responses: int = 64
    generations: int = 4
    max_new_tokens: int | None = None
    cost_model: str | None = None
    vllm: VllmMode = "off"
    vllm_url: str | None = None

    def __post_init__(self) -> None:
        if self.generations < 2:
            raise InputError(f"generations: {self.generations} must be at least 2, each is measured against the others")
        if not 0 < self.epochs < float("inf"):
            raise InputError(f"rl epochs: {self.epochs} must be greater than 0")
        if self.responses < 1 or self.responses % self.generations:
            raise InputError(f"responses: {self.responses} must be a multiple of generations ({self.generations})")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens: {self.max_new_tokens} must be at least 1")
        if self.vllm not in get_args(VllmMode):
            raise InputError(f"vllm: {self.vllm!r} is not one of {', '.join(get_args(VllmMode))}")
        if self.vllm_url is not None and self.vllm != "server":
            raise InputError("vllm_url: there is an address only with vllm server; give both or neither")
