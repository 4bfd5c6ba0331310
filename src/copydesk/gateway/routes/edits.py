"""`POST /v1/edits` logs an edit, `GET /v1/edits` returns the log."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from copydesk.gateway.auth import Caller
from copydesk.gateway.dependencies import get_gateway_state, require_scope
from copydesk.gateway.errors import ApiError
from copydesk.gateway.schemas import EditRequest, ShortText, StrictJsonRoute
from copydesk.gateway.state import GatewayState
from copydesk.store import read_edits
from copydesk.store.read import sequence_of
from copydesk.store.write import TooManyRevisions

router = APIRouter(tags=["edits"], route_class=StrictJsonRoute)


@router.post("/v1/edits", summary="Post the edit of an answer")
async def post_edit(
    asked: EditRequest,
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_scope("edit"))],
) -> dict[str, Any]:
    """Log an edit, compute its cost and let the ensemble learn from it.

    The response is sent after the edit is durable. The same edit again changes nothing; another one is a revision: the
    latest counts, and the history stays. `counted` is whether the ensemble learns from it: it does if it chose the
    policy, not if the policy was requested by name, or if the user or the API key has made too many edits lately.

    A key for one user edits the answers of that user. A key without the scope `complete` edits the answers given to
    itself, or to the key it was created for. Every other key edits the answers of its tenant.
    """
    if asked.edit is not None and len(asked.edit) > state.config.max_text:
        most = state.config.max_text
        raise ApiError(
            400, f"the edit has {len(asked.edit)} characters; at most {most} are taken", code="too_long", param="edit"
        )
    try:
        done = await state.record_edit(asked.completion_id, caller, asked.edit)
    except LookupError:
        raise ApiError(
            404,
            f"there is no completion {asked.completion_id!a}; give the id of an answer",
            code="completion_not_found",
            param="completion_id",
        ) from None
    except TooManyRevisions as exc:
        raise ApiError(409, str(exc), code="too_many_revisions", param="completion_id") from None
    stored = done.stored_edit
    return {
        "object": "copydesk.edit",
        "id": stored.id,
        "completion_id": stored.completion_id,
        "revision": stored.revision,
        "changed": done.changed,
        "cost": stored.cost,
        "metric": stored.metric,
        "counted": done.counted,
        "ensemble": {"arms": done.arms},
    }


@router.get(
    "/v1/edits",
    summary="Read the log",
    response_class=StreamingResponse,
    responses={200: {"description": "One edit per line.", "content": {"application/jsonl": {}}}},
)
def get_edits(
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_scope("read"))],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[ShortText | None, Query(description="The `edit_id` of the last row you have read.")] = None,
    user: Annotated[ShortText | None, Query()] = None,
) -> StreamingResponse:
    """The latest revision of every edit, in the order of arrival, as JSON Lines that `copydesk train --data` reads.

    For the next page, give the `edit_id` of the last row as `after`. A completion whose edit is revised appears again,
    with the same `completion_id`. A key for one user reads the edits of that user.
    """
    user = caller.resolve_user(user)
    with state.store.begin_read() as connection:
        place = 0 if after is None else sequence_of(connection, after, caller.tenant, user=caller.user)
        if place is None:
            raise ApiError(
                404, f"there is no edit {after!a}; give the edit_id of a row", code="edit_not_found", param="after"
            )
        rows = [
            row.to_json() for row in read_edits(connection, tenant=caller.tenant, user=user, after=place, limit=limit)
        ]

    def lines() -> Iterator[str]:
        for row in rows:
            yield json.dumps(row, ensure_ascii=False) + "\n"

    return StreamingResponse(lines(), media_type="application/jsonl")
