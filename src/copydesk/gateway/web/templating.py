"""Making a page of a template."""

from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from copydesk.gateway.auth import Caller
from copydesk.gateway.web import show

# Everything is escaped; what is not stands in `show`.
_TEMPLATES = Environment(
    loader=PackageLoader("copydesk.gateway.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(
    moment=show.format_moment,
    iso=show.format_iso,
    cost=show.format_optional_cost,
    excerpt=show.format_excerpt,
    prose=show.render_prose,
    colour=show.get_policy_colour_class,
)


def render_page(
    request: Request, template: str, *, caller: Caller | None = None, status: int = 200, **values: Any
) -> HTMLResponse:
    """The page of a template.

    Args:
        request: that is answered.
        template: its file's name.
        caller: who asks, where it is known.
        status: of HTTP.
        values: what the template shows.
    """
    html = _TEMPLATES.get_template(template).render(path=request.url.path, caller=caller, **values)
    return HTMLResponse(html, status, {"cache-control": "no-store"})
