"""Errors as OpenAI's clients expect them: `{"error": {"message", "type", "param", "code"}}`."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from copydesk.gateway.log_writer import StoreUnavailable

ERROR_DESCRIPTIONS = {
    400: "The request makes no sense; `param` names the field.",
    401: "An API key is needed, or this one is unknown or revoked.",
    403: "The API key does not allow this, or the gateway does not answer to this host name.",
    404: "There is no such thing for this caller.",
    409: "It would leave the ensemble without an arm.",
    413: "The body is too large.",
    415: "The body is not announced as JSON.",
    429: "Too much at once; try again after `Retry-After` seconds.",
    500: "The gateway or a policy in it failed.",
    502: "The policy's server failed.",
    503: "Nobody can answer, or the store cannot be written to; try again.",
    504: "The policy's server did not answer in time.",
}
"""What the gateway's errors mean."""

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
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """An error as OpenAI's API gives it."""

    error: ErrorDetail


class ApiError(Exception):
    """A request that is not answered as it was meant.

    Attributes:
        status: of HTTP.
        body: the JSON document that says why.
        headers: further ones of the answer.
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
    """The document of an error."""
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def make_error_response(status: int, message: str, **more: Any) -> JSONResponse:
    """The answer that carries an error."""
    return JSONResponse(make_error_body(status, message, **more), status)


def add_exception_handlers(app: FastAPI) -> None:
    """Give every fault of the application the form of an `ApiError`."""

    @app.exception_handler(ApiError)
    def _api(request: Request, fault: ApiError) -> JSONResponse:
        return JSONResponse(fault.body, fault.status, fault.headers)

    @app.exception_handler(HTTPException)
    def _http(request: Request, fault: HTTPException) -> JSONResponse:
        return JSONResponse(make_error_body(fault.status_code, str(fault.detail)), fault.status_code, fault.headers)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, fault: RequestValidationError) -> JSONResponse:
        first = fault.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        code = "too_long" if first["type"] == "too_long" else "invalid"
        return make_error_response(
            400,
            f"{where or 'the request'}: {first['msg'].removeprefix('Value error, ')}",
            param=where or None,
            code=code,
        )

    @app.exception_handler(StoreUnavailable)
    def _store(request: Request, fault: StoreUnavailable) -> JSONResponse:
        return make_error_response(503, f"{fault}; nothing was logged, try again", code="store_unavailable")

    @app.exception_handler(Exception)
    def _unexpected(request: Request, fault: Exception) -> JSONResponse:
        return make_error_response(500, "the gateway failed; its log says more")
