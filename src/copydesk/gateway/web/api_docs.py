"""*API*: what programs can ask for, made of the OpenAPI document."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from copydesk.gateway.dependencies import get_gateway_state
from copydesk.gateway.state import GatewayState
from copydesk.gateway.web.templating import render_page

router = APIRouter()

ResponseDoc = tuple[str, str, str]
"""A status, what it means, and what kinds of document come with it."""


@dataclass(frozen=True)
class FieldDoc:
    """A parameter, or a field of a body."""

    name: str
    kind: str
    required: bool
    about: str
    place: str = ""


@dataclass(frozen=True)
class EndpointDoc:
    """One thing that can be asked for."""

    method: str
    path: str
    summary: str
    about: Sequence[str]
    parameters: Sequence[FieldDoc]
    fields: Sequence[FieldDoc]
    more: bool
    answers: Sequence[ResponseDoc]
    example: str

    @property
    def anchor(self) -> str:
        """Names its place on the page."""
        return "-".join([self.method.lower(), *self.path.strip("/").replace("{", "").replace("}", "").split("/")])


@router.get("/docs")
async def get_docs_page(request: Request, desk: Annotated[GatewayState, Depends(get_gateway_state)]) -> HTMLResponse:
    """The page; no key is needed, as for the OpenAPI document itself."""
    document = request.app.openapi()
    base = str(request.base_url).rstrip("/")
    keyed = await desk.authenticator.requires_key()
    return render_page(
        request,
        "docs.html",
        groups=describe_endpoints(document, base, keyed),
        errors=find_common_errors(document),
        version=document["info"]["version"],
        base=base,
        keyed=keyed,
    )


def describe_endpoints(document: Mapping[str, Any], base: str, keyed: bool) -> dict[str, list[EndpointDoc]]:
    """The endpoints of an OpenAPI document by tag.

    Args:
        document: as FastAPI makes it.
        base: the gateway's address, for the examples.
        keyed: whether the examples send a key.
    """
    groups: dict[str, list[EndpointDoc]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            groups.setdefault(tag, []).append(
                _describe_endpoint(document, method.upper(), path, operation, base, keyed)
            )
    return groups


def find_common_errors(document: Mapping[str, Any]) -> list[ResponseDoc]:
    """The errors every endpoint can answer with, which need be told only once."""
    first, *others = [
        _list_responses(operation) for methods in document["paths"].values() for operation in methods.values()
    ]
    return [one for one in first if one[0] >= "400" and all(one in other for other in others)]


def _list_responses(operation: Mapping[str, Any]) -> list[ResponseDoc]:
    return [
        (status, answer["description"], ", ".join(answer.get("content", {})))
        for status, answer in operation["responses"].items()
    ]


def _describe_endpoint(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any], base: str, keyed: bool
) -> EndpointDoc:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = _resolve_ref(document, content.get("schema", {}))
    return EndpointDoc(
        method=method,
        path=path,
        summary=operation.get("summary", path),
        about=[part.replace("\n", " ") for part in operation.get("description", "").split("\n\n") if part.strip()],
        parameters=[
            FieldDoc(
                one["name"],
                _describe_type(one["schema"]),
                one.get("required", False),
                one.get("description", ""),
                one["in"],
            )
            for one in operation.get("parameters", [])
        ],
        fields=[
            FieldDoc(name, _describe_type(one), name in schema.get("required", []), one.get("description", ""))
            for name, one in schema.get("properties", {}).items()
        ],
        more=schema.get("additionalProperties", False) is True,
        answers=[answer for answer in _list_responses(operation) if answer not in find_common_errors(document)],
        example=_render_curl(method, base + path, schema.get("example"), keyed),
    )


def _resolve_ref(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return found


def _describe_type(schema: Mapping[str, Any]) -> str:
    """A schema's type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "anyOf" in schema:
        kinds = [_describe_type(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema.get("type") == "array":
        return f"array of {_describe_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _render_curl(method: str, url: str, body: Any, keyed: bool) -> str:
    """A command that asks for it."""
    lines = ["curl" + ("" if method in ("GET", "POST") else f" -X {method}") + f" {shlex.quote(url)}"]
    if keyed:
        lines.append('-H "Authorization: Bearer $COPYDESK_KEY"')
    if body is not None:
        lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(body))}"]
    return " \\\n  ".join(lines)
