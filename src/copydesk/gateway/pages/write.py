"""*Write*: ask, edit the draft, see what it costs, send."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from copydesk.gateway.access import Caller
from copydesk.gateway.depends import allowed, desk_of
from copydesk.gateway.desk import Desk
from copydesk.gateway.errors import ApiError
from copydesk.gateway.guard import is_json
from copydesk.gateway.pages.page import page
from copydesk.gateway.pages.policies import policy_looks
from copydesk.gateway.pages.visitors import visitor
from copydesk.gateway.pages.words import cost_words
from copydesk.gateway.requests import ENSEMBLE, Text, Word
from copydesk.log.store import find_completion

router = APIRouter()


@router.get("/")
def get_write(
    request: Request,
    desk: Annotated[Desk, Depends(desk_of)],
    caller: Annotated[Caller, Depends(visitor("complete", "edit"))],
) -> HTMLResponse:
    """The page; `static/write.js` does the rest."""
    with desk.store.begin_read() as connection:
        looks = policy_looks(connection)
    cost = desk.config.cost
    return page(
        request,
        "write.html",
        caller=caller,
        ensemble=ENSEMBLE,
        policies=sorted(desk.policies.keys() - desk.audiences.keys()),
        looks=looks,
        most=cost.cap,
        full=cost.cap if cost.normalize == "none" else 1.0,
        counted=cost_words(cost),
    )


class Draft(BaseModel):
    """A text somebody is editing."""

    model_config = ConfigDict(extra="forbid")

    completion_id: Word
    edit: Text


def _json_only(request: Request) -> None:
    """A page of another site can send a form here unasked, but no JSON."""
    if not is_json(request.headers):
        raise ApiError(415, "send JSON, with Content-Type: application/json")


@router.post("/write/cost", dependencies=[Depends(_json_only)])
def post_cost(
    draft: Draft, desk: Annotated[Desk, Depends(desk_of)], caller: Annotated[Caller, Depends(allowed("edit"))]
) -> dict[str, Any]:
    """What an edit would cost if it were sent now; nothing is logged."""
    if len(draft.edit) > (most := desk.config.max_text):
        raise ApiError(400, f"the edit has {len(draft.edit)} characters; at most {most} are taken", code="too_long")
    with desk.store.begin_read() as connection:
        found = find_completion(connection, draft.completion_id, caller.tenant)
    if found is None:
        raise ApiError(404, f"there is no completion {draft.completion_id!a}", code="completion_not_found")
    return {"cost": desk.config.cost(found.record.response, draft.edit), "metric": desk.metric}
