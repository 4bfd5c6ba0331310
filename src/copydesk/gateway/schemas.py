"""Request bodies of the gateway's API, as pydantic models; the OpenAPI document describes them."""

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal, Protocol, TypeVar

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import models_json_schema
from pydantic_core import PydanticCustomError, from_json

from copydesk.data.record import Message
from copydesk.data.strict_json import find_unstorable_number
from copydesk.gateway.errors import ApiError
from copydesk.store.read import extract_text

M = TypeVar("M", bound=BaseModel)

ENSEMBLE_MODEL = "copydesk"
"""The model name that lets the late ensemble choose."""


def _reject_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("it holds the character U+0000, which no database keeps; remove it")
    return text


StorableText = Annotated[str, AfterValidator(_reject_nul)]
ShortText = Annotated[StorableText, Field(min_length=1, max_length=256)]
PolicyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class ChatMessage(BaseModel):
    """One message of a chat; further keys are passed on."""

    model_config = ConfigDict(extra="allow")

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: str | list[dict[str, Any]] | None = None


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`, in OpenAI's schema.

    A policy behind a server gets every key of the body as it was sent; a policy in this process reads it as a
    `GenerationRequest`, which adds the parameters. Validated with a `ChatLimits` as the context, it is checked against
    these limits.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {"model": ENSEMBLE_MODEL, "messages": [{"role": "user", "content": "Write a short reply."}]}
        },
    )

    model: Annotated[ShortText, Field(description="`copydesk` lets the ensemble choose; a policy's name asks for it.")]
    messages: Annotated[list[ChatMessage], Field(min_length=1, description="The context.")]
    stream: Annotated[bool | None, Field(description="Answer in chunks, as server-sent events.")] = None
    user: Annotated[
        Annotated[StorableText, Field(max_length=256)] | None,
        Field(description="The user who will edit the answer; decides the scope of the ensemble."),
    ] = None
    n: Annotated[Literal[1] | None, Field(description="Only 1: an edit belongs to one response.")] = None

    @field_validator("messages")
    @classmethod
    def _check_length(cls, messages: list[ChatMessage], info: ValidationInfo) -> list[ChatMessage]:
        limits: ChatLimits | None = info.context
        if limits is None:
            return messages
        if len(messages) > limits.max_messages:
            raise PydanticCustomError("too_long", f"{len(messages)} messages; at most {limits.max_messages} are taken")
        length = sum(len(extract_text(message.content)) for message in messages)
        if length > limits.max_text:
            raise PydanticCustomError("too_long", f"they have {length} characters; at most {limits.max_text} are taken")
        return messages


class ChatLimits(Protocol):
    """The limits of a chat request; a `GatewayConfig` has them."""

    @property
    def max_messages(self) -> int:
        """The most messages of a request."""
        ...

    @property
    def max_text(self) -> int:
        """The most characters of all messages together."""
        ...


def _allow_only(*values: Any) -> AfterValidator:
    """Refuse every other value of a parameter that policies in this process do not support."""

    def check(value: Any) -> Any:
        if value not in values:
            raise PydanticCustomError("unsupported_parameter", "not supported by this model")
        return value

    return AfterValidator(check)


def _wrap_stop(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_TokenCount = Annotated[int, Strict(), Field(ge=1, le=2**31 - 1)]
_Penalty = Annotated[float, Strict(), Field(ge=-2, le=2, allow_inf_nan=False)]
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class _StreamOptions(BaseModel):
    include_usage: Annotated[bool, Strict()] | None = None


class GenerationRequest(ChatRequest):
    """A chat request as a policy in this process reads it: with its parameters, in the ranges of OpenAI's reference.

    A parameter that is null or missing has its default. One that would change the answer and is not supported is
    refused, unless its value asks for nothing (`tools: []`); one that does not change the answer (`store`, `metadata`)
    is ignored. An error's type is `unsupported_parameter` in the first case.
    """

    model: ShortText = ENSEMBLE_MODEL
    temperature: Annotated[float, Strict(), Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    top_p: Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    presence_penalty: _Penalty = 0.0
    frequency_penalty: _Penalty = 0.0
    max_completion_tokens: _TokenCount | None = None
    max_tokens: _TokenCount | None = None
    stop: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=4), BeforeValidator(_wrap_stop)
    ] = ()
    seed: Annotated[int, Strict(), Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stream_options: _StreamOptions = _StreamOptions()

    tools: Annotated[list[Any], _allow_only([])] = []
    tool_choice: Annotated[str | dict[str, Any], _allow_only("none", "auto")] = "auto"
    functions: Annotated[list[Any], _allow_only([])] = []
    function_call: Annotated[str | dict[str, Any], _allow_only("none", "auto")] = "auto"
    logprobs: Annotated[bool, Strict(), _allow_only(False)] = False
    top_logprobs: Annotated[int, Strict(), _allow_only()] | None = None
    logit_bias: Annotated[dict[str, Any], _allow_only({})] = {}
    response_format: Annotated[dict[str, Any], _allow_only({"type": "text"})] = {"type": "text"}
    modalities: Annotated[list[Any], _allow_only(["text"])] = ["text"]
    audio: Annotated[dict[str, Any], _allow_only()] | None = None
    web_search_options: Annotated[dict[str, Any], _allow_only()] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, body: Any) -> Any:
        return {key: value for key, value in body.items() if value is not None} if isinstance(body, dict) else body

    @field_validator("n", mode="before")
    @classmethod
    def _check_n(cls, n: Any) -> Any:
        if type(n) is not int:  # `Literal[1]` takes true and 1.0
            raise ValueError("must be 1")
        if n > 1:
            raise PydanticCustomError("unsupported_parameter", "not supported by this model")
        return n

    @field_validator("messages")
    @classmethod
    def _check_messages(cls, messages: list[ChatMessage]) -> list[ChatMessage]:
        for message in messages:
            _to_message(message)
        return messages

    @property
    def chat(self) -> tuple[Message, ...]:
        """The messages as roles and text; several parts of a message are joined by newlines, as vLLM and the log do."""
        return tuple(_to_message(message) for message in self.messages)

    @property
    def token_limit(self) -> int | None:
        """The most tokens of the answer: `max_completion_tokens`, else the older `max_tokens`."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


def _to_message(message: ChatMessage) -> Message:
    extra = message.model_extra or {}
    if extra.get("tool_calls") or extra.get("function_call") or message.role in ("tool", "function"):
        raise PydanticCustomError("unsupported_parameter", "tools are not supported by this model")
    if message.role not in _ROLES:
        raise ValueError(f"a role must be one of {', '.join(_ROLES)}")
    parts = message.content if isinstance(message.content, list) else []
    for part in parts:
        if not isinstance(part.get("type"), str):
            raise ValueError("content must be a string or a list of parts with a type")
        if part["type"] != "text":
            raise PydanticCustomError("unsupported_parameter", "only parts of type text are supported by this model")
        if not isinstance(part.get("text"), str):
            raise ValueError("the text of a part must be a string")
    text = extract_text(message.content)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell and UTF-8 cannot
        raise ValueError("the content is not valid Unicode text") from None
    return Message(role=_ROLES[message.role], content=text)


class EditRequest(BaseModel):
    """A person's edit of an answer: the edited text, or that the answer was accepted unchanged."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"completion_id": "chatcmpl-9f2c...", "edit": "Hi Ann, ..."}}
    )

    completion_id: Annotated[ShortText, Field(description="The `id` of the answer.")]
    edit: Annotated[StorableText | None, Field(description="The edited text.")] = None
    accepted: Annotated[Literal[True] | None, Field(description="The answer was accepted unchanged.")] = None

    @model_validator(mode="after")
    def _check_exactly_one(self) -> "EditRequest":
        if (self.edit is None) == (self.accepted is None):
            raise ValueError("give either the edited text as 'edit', or 'accepted': true")
        return self


class PolicyRequest(BaseModel):
    """A policy to add as an arm."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "early-2", "spec": "policies/early-2"}}
    )

    name: Annotated[PolicyName, Field(description="Unique; a retrained policy takes a new name.")]
    spec: Annotated[
        StorableText,
        Field(min_length=1, max_length=4096, description="A model, a folder, `MODEL@URL` or `vllm:FOLDER@URL`."),
    ]
    user: Annotated[ShortText | None, Field(description="The one user it is for.")] = None
    group: Annotated[ShortText | None, Field(description="The group it is for.")] = None

    @model_validator(mode="after")
    def _check_at_most_one(self) -> "PolicyRequest":
        if self.user is not None and self.group is not None:
            raise ValueError("give either 'user' or 'group', or neither: for everyone")
        return self


CHAT_REQUEST_REF = {"$ref": "#/components/schemas/ChatRequest"}
"""The place of `ChatRequest` in the OpenAPI document; see `build_request_schemas`."""


def build_request_schemas() -> dict[str, Any]:
    """The schemas of `CHAT_REQUEST_REF`, for the OpenAPI document."""
    _, found = models_json_schema([(ChatRequest, "validation")], ref_template="#/components/schemas/{model}")
    return dict(found["$defs"])


_MAYBE_UNSTORABLE = re.compile(rb"[0-9]{19}|[0-9][eE]")  # no other number is infinite or has more than 64 bits


def parse_body(text: bytes) -> Any:
    """Parse a request's body.

    Raises:
        ApiError: it is not JSON (NaN is not), nested too deeply, or holds a number that is infinite (1e400) or an
            integer of more than 64 bits.
    """
    try:
        body = from_json(text, allow_inf_nan=False)
    except ValueError as exc:
        raise ApiError(400, f"the body is not JSON: {exc}", code="invalid") from None
    if _MAYBE_UNSTORABLE.search(text) and find_unstorable_number(body) is not None:
        raise ApiError(
            400,
            "the body holds a number that is not finite or has more than 64 bits; send a smaller one",
            code="invalid",
        )
    return body


class StrictJsonRoute(APIRoute):
    """A route whose body FastAPI parses with `parse_body` instead of Python's `json`, which takes NaN and 1e400."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, which gets a request that parses its body strictly."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return parse_body(await self.body())
        except ApiError as exc:  # FastAPI replaces every other exception than this one
            raise HTTPException(exc.status, str(exc)) from None


async def read_body(request: Request, model: type[M], context: Any = None) -> tuple[dict[str, Any], M]:
    """The body of a request as it was sent, with every key, and validated.

    Args:
        request: the request.
        model: what validates the body.
        context: passed to the model's validators.

    Raises:
        ApiError: the body is not JSON, nested too deeply, or holds a number that is not finite or too large.
        RequestValidationError: the model refuses it.
    """
    body = parse_body(await request.body())
    try:
        return body, model.model_validate(body, context=context)
    except ValidationError as exc:
        raise RequestValidationError(exc.errors(include_url=False)) from None
