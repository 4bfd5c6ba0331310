"""API errors in OpenAI's format: `{"error": {"message", "type", "param", "code"}}`."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from copydesk.gateway.log_writer import StoreUnavailable
from copydesk.store.errors import StoreError

logger = logging.getLogger(__name__)

ERROR_DESCRIPTIONS = {
    400: "The request is invalid; `param` names the field.",
    401: "An API key is missing, unknown or revoked.",
    403: "The API key lacks the scope, or the gateway does not answer to this host name.",
    404: "Not found for this caller.",
    409: "The ensemble would have no arm left for everyone, or the answer has too many revisions.",
    413: "The body is too large.",
    415: "The Content-Type is not application/json.",
    429: "Too many requests; retry after `Retry-After` seconds.",
    500: "The gateway or a policy in it failed.",
    502: "The policy's server failed.",
    503: "No policy can answer, or the store cannot be written to; retry.",
    504: "The policy's server did not answer in time.",
}
"""What each error status of the gateway means."""

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


class ErrorDetail(BaseModel):
    """The content of an error."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """An error in OpenAI's format."""

    error: ErrorDetail


class ApiError(Exception):
    """An error response.

    Attributes:
        status: the HTTP status.
        body: the JSON document.
        headers: further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = make_error_body(status, message, code=code, param=param)
        self.headers = dict(headers or {})


def make_error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The JSON document of an error."""
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def make_error_response(status: int, message: str, **more: Any) -> JSONResponse:
    """The response with the JSON document of an error."""
    return JSONResponse(make_error_body(status, message, **more), status)


def add_exception_handlers(app: FastAPI) -> None:
    """Answer every exception of the application in the format of an `ApiError`."""

    @app.exception_handler(ApiError)
    def _api(request: Request, exc: ApiError) -> JSONResponse:
        return JSONResponse(exc.body, exc.status, exc.headers)

    @app.exception_handler(HTTPException)
    def _http(request: Request, exc: HTTPException) -> JSONResponse:
        return JSONResponse(make_error_body(exc.status_code, str(exc.detail)), exc.status_code, exc.headers)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, exc: RequestValidationError) -> JSONResponse:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        code = "too_long" if first["type"] == "too_long" else "invalid"
        return make_error_response(
            400,
            f"{where or 'the request'}: {first['msg'].removeprefix('Value error, ')}",
            param=where or None,
            code=code,
        )

    @app.exception_handler(ClientDisconnect)
    def _disconnected(request: Request, exc: ClientDisconnect) -> JSONResponse:
        return make_error_response(400, "the request did not arrive in full")  # nobody reads it

    @app.exception_handler(StoreUnavailable)
    def _unavailable(request: Request, exc: StoreUnavailable) -> JSONResponse:
        message = "the store cannot be written to; nothing was logged; retry"
        return make_error_response(503, message, code="store_unavailable")

    @app.exception_handler(StoreError)
    def _unreadable(request: Request, exc: StoreError) -> JSONResponse:
        logger.warning("%s", exc)
        return make_error_response(503, "the store cannot be read; retry", code="store_unavailable")

    @app.exception_handler(Exception)
    def _unexpected(request: Request, exc: Exception) -> JSONResponse:
        return make_error_response(500, "internal error; see the gateway's log")
