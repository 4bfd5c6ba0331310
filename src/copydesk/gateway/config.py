"""Settings of a gateway: limits on requests, retries, cooldowns, batching, trimming and browser access."""

from typing import Annotated

from pydantic import Field, InstanceOf

from copydesk.data.cost import EditCost
from copydesk.utils.config import Config, Flag

LIMITS_PANEL = "Limits"


class GatewayConfig(Config):
    """All settings of a gateway except its policies and its ensemble.

    Attributes:
        cost: computes the cost of an edit.
        max_body: largest request body, in bytes.
        max_text: longest message, response or edit, in characters.
        max_messages: most messages in a request.
        timeout: seconds an upstream server may send nothing.
        deadline: seconds an upstream server may take for a whole answer, retries included.
        retries: how often a request that an upstream server could not take is sent again.
        max_reply: largest reply of an upstream server, in bytes after decompression; a stream may have 16 times as
            many.
        max_answer: longest answer of an upstream server, in characters.
        cooldown: seconds an arm is not chosen after a failure; doubles with each further failure.
        max_cooldown: longest cooldown, in seconds.
        max_batch: requests a local model answers in one batch.
        max_new_tokens: token limit of a local model's answer when the request sets none.
        trim_repeats: cut every answer where it begins to repeat this many characters, and stop writing it; 0 never.
        upstreams: origins of servers that policies added over HTTP may name, each as `ORIGIN` or `ORIGIN=VARIABLE` with
            the environment variable that holds its key. The origins of the gateway's own policies need not be listed.
        cors_origins: web sites whose pages may call the gateway (CORS).
        allowed_hosts: accepted `Host` headers when there is no API key. Other names are refused, so that a page of
            another site that resolves its own name to this machine cannot read the log (DNS rebinding).

    Raises:
        InputError: a value is out of range.
    """

    cost: InstanceOf[EditCost] = Field(default_factory=lambda: EditCost(cap=3.0))
    max_body: Annotated[int, Flag(panel=LIMITS_PANEL), Field(gt=0, description="Largest request body, in bytes.")] = (
        1 << 20
    )
    max_text: Annotated[
        int, Flag(panel=LIMITS_PANEL), Field(gt=0, description="Longest context or edit, in characters.")
    ] = 100_000
    max_messages: Annotated[int, Field(gt=0, description="Most messages in a request.")] = 1_000
    timeout: Annotated[
        float, Flag(panel=LIMITS_PANEL), Field(gt=0, description="Seconds an upstream server may send nothing.")
    ] = 120.0
    deadline: Annotated[
        float,
        Flag(panel=LIMITS_PANEL),
        Field(gt=0, description="Seconds an upstream server may take for a whole answer."),
    ] = 600.0
    retries: Annotated[
        int, Flag(panel=LIMITS_PANEL), Field(ge=0, description="Retries of a failed upstream request.")
    ] = 2
    max_reply: Annotated[
        int, Flag(panel=LIMITS_PANEL), Field(gt=0, description="Largest reply of an upstream server, in bytes.")
    ] = 16 << 20
    max_answer: Annotated[
        int, Flag(panel=LIMITS_PANEL), Field(gt=0, description="Longest answer of an upstream server, in characters.")
    ] = 1_000_000
    cooldown: Annotated[
        float,
        Flag("--cooldown", "--rest", panel=LIMITS_PANEL),
        Field(gt=0, description="Seconds an arm is not chosen after a failure; doubles with each further failure."),
    ] = 5.0
    max_cooldown: Annotated[
        float, Flag(panel=LIMITS_PANEL), Field(gt=0, description="Longest cooldown, in seconds.")
    ] = 300.0
    max_batch: Annotated[
        int, Flag(panel=LIMITS_PANEL), Field(gt=0, description="Requests a local model answers in one batch.")
    ] = 16
    max_new_tokens: Annotated[
        int,
        Flag(panel=LIMITS_PANEL),
        Field(gt=0, description="Token limit of a local model's answer when the request sets none."),
    ] = 512
    trim_repeats: Annotated[
        int,
        Flag(panel=LIMITS_PANEL),
        Field(
            ge=0,
            description="Cut every answer where it begins to repeat this many characters, such as 200; 0 cuts none.",
        ),
    ] = 0
    upstreams: Annotated[
        tuple[str, ...],
        Flag("--upstream", panel=LIMITS_PANEL),
        Field(
            description="Server that policies added over HTTP may name, as ORIGIN or ORIGIN=VARIABLE with the "
            "environment variable that holds its key. Repeat for several."
        ),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        Flag("--origin", panel=LIMITS_PANEL),
        Field(description="Web site whose pages may call the gateway (CORS). Repeat for several."),
    ] = ()
    allowed_hosts: Annotated[tuple[str, ...], Field(description="Accepted Host headers without an API key.")] = (
        "127.0.0.1",
        "localhost",
        "[::1]",
    )
