"""What the gateway is asked, as its OpenAPI document describes it."""

from typing import Annotated, Any, Literal, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import models_json_schema
from pydantic_core import from_json

from copydesk.gateway.errors import ApiError

M = TypeVar("M", bound=BaseModel)

ENSEMBLE_MODEL = "copydesk"
"""The model's name that lets the late ensemble choose."""


def _reject_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("it holds the character U+0000, which no database keeps; remove it")
    return text


StorableText = Annotated[str, AfterValidator(_reject_nul)]
ShortText = Annotated[StorableText, Field(min_length=1, max_length=256)]
PolicyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class ChatMessage(BaseModel):
    """One turn of a chat; further keys are passed on."""

    model_config = ConfigDict(extra="allow")

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: str | list[dict[str, Any]] | None = None


class ChatRequest(BaseModel):
    """OpenAI's request; parameters that are not named here are passed on to the policy as they are."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {"model": ENSEMBLE_MODEL, "messages": [{"role": "user", "content": "Write a short reply."}]}
        },
    )

    model: Annotated[ShortText, Field(description="`copydesk` lets the ensemble choose; a policy's name asks for it.")]
    messages: Annotated[list[ChatMessage], Field(min_length=1, description="The context.")]
    stream: Annotated[bool | None, Field(description="Answer in pieces, as server-sent events.")] = None
    user: Annotated[
        Annotated[StorableText, Field(max_length=256)] | None, Field(description="Who is to edit: the scope.")
    ] = None
    n: Annotated[Literal[1] | None, Field(description="Only 1: an edit belongs to one response.")] = None


class EditRequest(BaseModel):
    """What a person made of an answer: the edited text, or that it was accepted as it was."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"completion_id": "chatcmpl-01J...", "edit": "Hi Ann, ..."}}
    )

    completion_id: Annotated[ShortText, Field(description="The `id` of the answer.")]
    edit: Annotated[StorableText | None, Field(description="What the person made of the answer.")] = None
    accepted: Annotated[Literal[True] | None, Field(description="The answer was taken as it was.")] = None

    @model_validator(mode="after")
    def _check_exactly_one(self) -> "EditRequest":
        if (self.edit is None) == (self.accepted is None):
            raise ValueError("give either the edited text as 'edit', or 'accepted': true")
        return self


class PolicyRequest(BaseModel):
    """A policy that is to become an arm."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "early-2", "spec": "policies/early-2"}}
    )

    name: Annotated[PolicyName, Field(description="Given once; a retrained policy takes a new one.")]
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
"""Where the OpenAPI document has what a request for a completion holds; see `schemas`."""


def build_request_schemas() -> dict[str, Any]:
    """The schemas of `CHAT_REQUEST_REF`, for the OpenAPI document."""
    _, found = models_json_schema([(ChatRequest, "validation")], ref_template="#/components/schemas/{model}")
    return dict(found["$defs"])


async def read_body(request: Request, model: type[M]) -> tuple[dict[str, Any], M]:
    """The body as it was sent, every key of it, and as the model it must be of.

    Raises:
        ApiError: it is no JSON (NaN is none), or is nested too deeply.
        RequestValidationError: it is not what the model describes.
    """
    try:
        body = from_json(await request.body(), allow_inf_nan=False)
    except ValueError as exc:
        raise ApiError(400, f"the body is not JSON: {exc}", code="invalid") from None
    try:
        return body, model.model_validate(body)
    except ValidationError as exc:
        raise RequestValidationError(exc.errors(include_url=False)) from None
