"""The page Edits: browse and search the log, and compare one edit with its response."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection, select

from copydesk.data.record import Context, EditRecord
from copydesk.gateway.auth import Caller
from copydesk.gateway.dependencies import get_gateway_state
from copydesk.gateway.errors import ApiError
from copydesk.gateway.state import GatewayState
from copydesk.gateway.web.auth import require_signed_in
from copydesk.gateway.web.ensemble import read_policy_styles
from copydesk.gateway.web.templating import render_page
from copydesk.report.diff import Segment, compute_diff
from copydesk.report.style import MethodStyle
from copydesk.store import find_completion, search_edits, tables

router = APIRouter()

_MAX_DIFF_CHARS = 60_000  # characters of both texts together that are compared word by word; more takes too long
_MAX_INTEGER = 2**63 - 1  # of the databases


@dataclass(frozen=True)
class EditRevision:
    """One revision of an edit."""

    number: int
    at: datetime
    edit: str
    cost: float
    metric: str


@router.get("/edits")
def get_edits_page(
    request: Request,
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_signed_in("read"))],
    q: Annotated[str, Query(max_length=500)] = "",
    policy: Annotated[str, Query(max_length=256)] = "",
    pending: bool = False,
    before: Annotated[int | None, Query(ge=0, le=_MAX_INTEGER)] = None,
) -> HTMLResponse:
    """A page of the log, newest first."""
    words, name = q.replace("\x00", ""), policy.replace("\x00", "")
    with state.store.begin_read() as connection:
        styles = read_visible_styles(connection, caller)
        rows, older = search_edits(
            connection,
            tenant=caller.tenant,
            user=caller.user,
            words=words,
            policy=name or None,
            pending=pending,
            before=before,
        )
    here = request.url.include_query_params
    return render_page(
        request,
        "edits.html",
        caller=caller,
        rows=[(row, find_last_user_text(row.record.context)) for row in rows],
        styles=styles,
        q=words,
        policy=name,
        pending=pending,
        searched=bool(words or name),
        older=None if older is None else "?" + here(before=older).query,
        newest=None if before is None else "?" + request.url.remove_query_params("before").query,
    )


@router.get("/edits/{completion_id}")
def get_edit_page(
    request: Request,
    completion_id: Annotated[str, Path(max_length=256)],
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_signed_in("read"))],
) -> HTMLResponse:
    """One completion and all revisions of its edit."""
    with state.store.begin_read() as connection:
        completion_id = completion_id.replace("\x00", "")
        found = find_completion(connection, completion_id, caller.tenant, user=caller.user)
        if found is None:
            raise ApiError(404, f"The log has no answer {completion_id!a}.", code="completion_not_found")
        styles = read_visible_styles(connection, caller)
        revisions = read_revisions(connection, completion_id)
    record = found.record
    return render_page(
        request,
        "edit.html",
        caller=caller,
        row=found,
        turns=split_turns(record.context),
        segments=None if record.edit is None else compare_texts(record.response, record.edit),
        earlier=[(one, compare_texts(record.response, one.edit)) for one in revisions[:-1]],
        revisions=revisions,
        styles=styles,
        chosen=_describe_choice(record),
    )


def read_visible_styles(connection: Connection, caller: Caller) -> dict[str, MethodStyle]:
    """The styles of the policies that the caller may know of."""
    query = select(tables.arms.c.name, tables.arms.c.audience).where(tables.arms.c.action == "add")
    hidden = {row.name for row in connection.execute(query) if not caller.may_see(row.audience)}
    return {name: style for name, style in read_policy_styles(connection).items() if name not in hidden}


def _describe_choice(record: EditRecord) -> str:
    """How the policy of an answer was chosen; an imported row may not say so."""
    if record.policy is not None and record.metadata.get("requested") == record.policy:
        return "requested by name"
    return "unknown" if record.propensity is None else f"with probability {record.propensity:.3g}"


def read_revisions(connection: Connection, completion_id: str) -> list[EditRevision]:
    """All revisions of a completion's edit, oldest first."""
    edits = tables.edits
    query = select(edits).where(edits.c.completion_id == completion_id).order_by(edits.c.revision)
    return [
        EditRevision(row.revision, datetime.fromtimestamp(row.at, UTC), row.edit, row.cost, row.metric)
        for row in connection.execute(query)
    ]


def compare_texts(response: str, edit: str) -> list[Segment]:
    """The diff of an edit; very long texts count as rewritten completely."""
    if response == edit:
        return [("equal", edit)]
    if len(response) + len(edit) > _MAX_DIFF_CHARS:
        return [("delete", response), ("insert", edit)]
    return compute_diff(response, edit)


def split_turns(context: Context) -> list[tuple[str, str]]:
    """A context as (role, text) pairs."""
    if isinstance(context, str):
        return [("user", context)]
    return [(turn.role, turn.content) for turn in context]


def find_last_user_text(context: Context) -> str:
    """The last message of the user, which stands for a context in a list."""
    turns = split_turns(context)
    texts = [text for role, text in turns if role == "user" and text.strip()]
    return (texts or [text for _, text in turns] or [""])[-1]
