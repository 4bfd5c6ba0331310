"""*API*: what programs can ask for, made of the OpenAPI document."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from copydesk.gateway.depends import desk_of
from copydesk.gateway.desk import Desk
from copydesk.gateway.pages.page import page

router = APIRouter()

Answer = tuple[str, str, str]
"""A status, what it means, and what kinds of document come with it."""


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body."""

    name: str
    kind: str
    required: bool
    about: str
    place: str = ""


@dataclass(frozen=True)
class Endpoint:
    """One thing that can be asked for."""

    method: str
    path: str
    summary: str
    about: Sequence[str]
    parameters: Sequence[Field]
    fields: Sequence[Field]
    more: bool
    answers: Sequence[Answer]
    example: str

    @property
    def anchor(self) -> str:
        """Names its place on the page."""
        return "-".join([self.method.lower(), *self.path.strip("/").replace("{", "").replace("}", "").split("/")])


@router.get("/docs")
async def get_docs(request: Request, desk: Annotated[Desk, Depends(desk_of)]) -> HTMLResponse:
    """The page; no key is needed, as for the OpenAPI document itself."""
    document = request.app.openapi()
    base = str(request.base_url).rstrip("/")
    keyed = await desk.authenticator.requires_key()
    return page(
        request,
        "docs.html",
        groups=endpoints(document, base, keyed),
        errors=common_errors(document),
        version=document["info"]["version"],
        base=base,
        keyed=keyed,
    )


def endpoints(document: Mapping[str, Any], base: str, keyed: bool) -> dict[str, list[Endpoint]]:
    """The endpoints of an OpenAPI document by tag.

    Args:
        document: as FastAPI makes it.
        base: the gateway's address, for the examples.
        keyed: whether the examples send a key.
    """
    groups: dict[str, list[Endpoint]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            groups.setdefault(tag, []).append(_endpoint(document, method.upper(), path, operation, base, keyed))
    return groups


def common_errors(document: Mapping[str, Any]) -> list[Answer]:
    """The errors every endpoint can answer with, which need be told only once."""
    first, *others = [_answers(operation) for methods in document["paths"].values() for operation in methods.values()]
    return [one for one in first if one[0] >= "400" and all(one in other for other in others)]


def _answers(operation: Mapping[str, Any]) -> list[Answer]:
    return [
        (status, answer["description"], ", ".join(answer.get("content", {})))
        for status, answer in operation["responses"].items()
    ]


def _endpoint(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any], base: str, keyed: bool
) -> Endpoint:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = _resolve(document, content.get("schema", {}))
    return Endpoint(
        method=method,
        path=path,
        summary=operation.get("summary", path),
        about=[part.replace("\n", " ") for part in operation.get("description", "").split("\n\n") if part.strip()],
        parameters=[
            Field(
                one["name"],
                _kind(one["schema"]),
                one.get("required", False),
                one.get("description", ""),
                one["in"],
            )
            for one in operation.get("parameters", [])
        ],
        fields=[
            Field(name, _kind(one), name in schema.get("required", []), one.get("description", ""))
            for name, one in schema.get("properties", {}).items()
        ],
        more=schema.get("additionalProperties", False) is True,
        answers=[answer for answer in _answers(operation) if answer not in common_errors(document)],
        example=_curl(method, base + path, schema.get("example"), keyed),
    )


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return found


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema's type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema.get("type") == "array":
        return f"array of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _curl(method: str, url: str, body: Any, keyed: bool) -> str:
    """A command that asks for it."""
    lines = ["curl" + ("" if method in ("GET", "POST") else f" -X {method}") + f" {shlex.quote(url)}"]
    if keyed:
        lines.append('-H "Authorization: Bearer $COPYDESK_KEY"')
    if body is not None:
        lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(body))}"]
    return " \\\n  ".join(lines)
