"""What a gateway is set to."""

from dataclasses import dataclass, field

from copydesk.data.cost import EditCost
from copydesk.errors import InputError


@dataclass(frozen=True)
class GatewayConfig:
    """Everything about a gateway but its policies and its ensemble.

    Attributes:
        cost: how an edit's cost is computed.
        max_body: the largest request, in bytes.
        max_text: the longest message, response or edit, in characters.
        max_messages: the most messages of a request.
        timeout: seconds an upstream server may be silent.
        retries: how often a request that an upstream server could not take is sent again.
        cooldown: seconds an arm rests after a failure; twice as long after each further one.
        max_cooldown: seconds, at most.
        max_batch: requests a local model answers side by side.
        max_new_tokens: where a local model's answer ends that was given no limit.
        cors_origins: web sites whose pages may call the gateway (CORS).
        allowed_hosts: without any API key, only these names of the machine are answered to: a page of another site that
            points its own name here must not read the log.
    """

    cost: EditCost = field(default_factory=lambda: EditCost(cap=3.0))
    max_body: int = 1 << 20
    max_text: int = 100_000
    max_messages: int = 1_000
    timeout: float = 120.0
    retries: int = 2
    cooldown: float = 5.0
    max_cooldown: float = 300.0
    max_batch: int = 16
    max_new_tokens: int = 512
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")

    def __post_init__(self) -> None:
        for name in ("max_body", "max_text", "max_messages", "timeout", "cooldown", "max_batch", "max_new_tokens"):
            if not getattr(self, name) > 0:
                flag = "rest" if name == "cooldown" else name.replace("_", "-")
                raise InputError(f"--{flag}: {getattr(self, name)} must be above 0")
        if self.retries < 0:
            raise InputError(f"--retries: {self.retries} must be at least 0")
