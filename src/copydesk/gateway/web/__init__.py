"""The gateway's web pages: Write, Edits, Ensemble, API, and signing in."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from copydesk.gateway.dependencies import get_gateway_state
from copydesk.gateway.state import GatewayState
from copydesk.gateway.web import auth, edits, ensemble, write
from copydesk.gateway.web.ensemble import ChartCache
from copydesk.gateway.web.errors import add_page_exception_handlers
from copydesk.gateway.web.templating import render_colour_sheet, render_page

__all__ = ["add_pages"]

DOCUMENTATION_URL = "https://github.com/copydesk/copydesk/blob/main/docs/gateway.md"

_REVALIDATE = {"cache-control": "no-cache"}  # a browser keeps a file but asks each time whether it has changed
_router = APIRouter()


def add_pages(app: FastAPI) -> None:
    """Add the pages to the gateway. Call this last: it replaces the error handlers for requests of pages."""
    app.state.chart_cache = ChartCache(app.state.gateway.store)
    for router in (write.router, edits.router, ensemble.router, auth.router, _router):
        app.include_router(router, include_in_schema=False)
    app.mount("/static", _RevalidatedStaticFiles(directory=Path(__file__).parent / "static"), name="static")
    add_page_exception_handlers(app)


@_router.get("/docs")
async def get_api_page(request: Request, state: Annotated[GatewayState, Depends(get_gateway_state)]) -> HTMLResponse:
    """The page API: the endpoints, and where they are described. It needs no key, nor does `/openapi.json`."""
    document = request.app.openapi()
    return render_page(
        request,
        "api.html",
        base=str(request.base_url).rstrip("/"),
        endpoints=[
            (method.upper(), path, operation.get("summary", ""))
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        ],
        version=document["info"]["version"],
        documentation=DOCUMENTATION_URL,
        keyed=not await state.authenticator.accepts_anonymous(request),
    )


@_router.get("/static/colours.css")
def get_colour_sheet() -> Response:
    """The colours of policies, generated from `copydesk.report.style`."""
    return Response(render_colour_sheet(), media_type="text/css", headers=_REVALIDATE)


class _RevalidatedStaticFiles(StaticFiles):
    async def get_response(self, path: str, scope: object) -> Response:
        response = await super().get_response(path, scope)  # type: ignore[arg-type]
        response.headers.update(_REVALIDATE)
        return response
