"""The pages, for people: Write, Edits, Ensemble, the API's description, and signing in."""

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from copydesk.gateway.web import api_docs, auth, draft, edits, ensemble
from copydesk.gateway.web.ensemble import ChartCache
from copydesk.gateway.web.errors import add_page_exception_handlers

__all__ = ["add_pages"]


def add_pages(app: FastAPI) -> None:
    """Give the gateway its pages. Called last: faults of pages are told in pages, those of all else as they were."""
    app.state.gallery = ChartCache(app.state.desk.store)
    for module in (draft, edits, ensemble, api_docs, auth):
        app.include_router(module.router, include_in_schema=False)
    app.mount("/static", _RevalidatedStaticFiles(directory=Path(__file__).parent / "static"), name="static")
    add_page_exception_handlers(app)


class _RevalidatedStaticFiles(StaticFiles):
    """Files that a browser keeps but asks about each time, so that a newer Copydesk is seen at once."""

    async def get_response(self, path: str, scope: object) -> Response:
        """One file."""
        response = await super().get_response(path, scope)  # type: ignore[arg-type]
        response.headers["cache-control"] = "no-cache"
        return response
