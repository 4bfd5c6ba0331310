"""Render errors of pages as HTML pages, and all others as JSON."""

import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from copydesk.gateway.errors import ApiError
from copydesk.gateway.log_writer import StoreUnavailable
from copydesk.gateway.web.auth import SignInRequired
from copydesk.gateway.web.templating import render_page
from copydesk.store.errors import StoreError

ExceptionHandler: TypeAlias = Callable[[Request, Any], Response | Awaitable[Response]]

_PAGE_PATHS = ("", "edits", "ensemble", "docs", "sign-in", "sign-out")
_API_PATHS = ("v1", "healthz", "readyz", "metrics", "openapi.json", "static", "write")
_KEPT_HEADERS = ("allow", "retry-after")
_TITLES = {403: "Your key does not open this page", 404: "Page not found", 503: "Unavailable"}


def add_page_exception_handlers(app: FastAPI) -> None:
    """Answer errors of pages with a page; the API keeps its JSON errors."""
    for kind in (ApiError, HTTPException, RequestValidationError, StoreUnavailable, StoreError, Exception):
        app.add_exception_handler(kind, _render_errors_as_pages(app.exception_handlers[kind]))

    @app.exception_handler(SignInRequired)
    def _sign_in(request: Request, exc: SignInRequired) -> RedirectResponse:
        there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/sign-in?next={quote(there, safe='/')}", 303, {"cache-control": "no-store"})


def _render_errors_as_pages(handler: ExceptionHandler) -> ExceptionHandler:
    async def answer(request: Request, exc: Exception) -> Response:
        result = handler(request, exc)
        response = await result if inspect.isawaitable(result) else result
        if not _is_page_request(request):
            return response
        message: str = json.loads(bytes(response.body))["error"]["message"]
        title = _TITLES.get(response.status_code, "Error")
        if response.status_code == 404 and message == "Not Found":
            message = "The address may be mistyped."
        denied = response.status_code == 403
        page = render_page(
            request, "error.html", status=response.status_code, title=title, message=message, denied=denied
        )
        page.headers.update({name: value for name, value in response.headers.items() if name in _KEPT_HEADERS})
        return page

    return answer


def _is_page_request(request: Request) -> bool:
    first = request.url.path.split("/")[1]
    if first in _PAGE_PATHS or first in _API_PATHS:
        return first in _PAGE_PATHS
    return "text/html" in request.headers.get("accept", "")  # a mistyped address: the client decides
