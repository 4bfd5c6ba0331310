"""The page Write: request a draft, edit it, see the edit cost, send."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from copydesk.gateway.auth import Caller
from copydesk.gateway.dependencies import get_gateway_state, require_scope
from copydesk.gateway.errors import ApiError
from copydesk.gateway.middleware import is_json
from copydesk.gateway.schemas import ENSEMBLE_MODEL, ShortText, StorableText, StrictJsonRoute
from copydesk.gateway.state import GatewayState
from copydesk.gateway.web.auth import require_signed_in
from copydesk.gateway.web.ensemble import read_policy_styles
from copydesk.gateway.web.templating import describe_edit_cost, render_page

router = APIRouter(route_class=StrictJsonRoute)


@router.get("/")
def get_write_page(
    request: Request,
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_signed_in("complete", "edit"))],
) -> HTMLResponse:
    """The page; `static/write.js` does the rest in the browser."""
    with state.store.begin_read() as connection:
        styles = read_policy_styles(connection)
    cost = state.config.cost
    return render_page(
        request,
        "write.html",
        caller=caller,
        ensemble=ENSEMBLE_MODEL,
        policies=sorted(state.policies.keys() - state.audiences.keys()),
        styles=styles,
        max_cost=cost.cap,
        meter_max=cost.cap if cost.normalize == "none" else 1.0,
        counted=describe_edit_cost(cost),
    )


class DraftEdit(BaseModel):
    """A draft while it is edited."""

    model_config = ConfigDict(extra="forbid")

    completion_id: ShortText
    edit: StorableText


def _require_json(request: Request) -> None:
    """Refuse forms, which a page of another site could send; it cannot send JSON."""
    if not is_json(request.headers):
        raise ApiError(415, "send JSON, with Content-Type: application/json")


@router.post("/write/cost", dependencies=[Depends(_require_json)])
async def post_cost(
    draft: DraftEdit,
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_scope("edit"))],
) -> dict[str, Any]:
    """The cost of an edit that has not been sent; nothing is logged."""
    if len(draft.edit) > (most := state.config.max_text):
        raise ApiError(400, f"the edit has {len(draft.edit)} characters; at most {most} are taken", code="too_long")
    try:
        cost = await state.compute_cost(draft.completion_id, caller, draft.edit)
    except LookupError:
        message = f"there is no completion {draft.completion_id!a}"
        raise ApiError(404, message, code="completion_not_found") from None
    return {"cost": cost, "metric": state.metric}
