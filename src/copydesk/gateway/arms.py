"""The ensemble and its arms: what they stand at, adding and retiring, and the models that can be asked for."""

import math
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from copydesk.ensemble.ledger import Ledger
from copydesk.ensemble.rules import Ucb
from copydesk.errors import InputError
from copydesk.gateway.access import Caller
from copydesk.gateway.depends import allowed, desk_of
from copydesk.gateway.desk import Desk
from copydesk.gateway.entries import standings
from copydesk.gateway.errors import ApiError
from copydesk.gateway.requests import ENSEMBLE, PolicyRequest, Word

router = APIRouter(tags=["ensemble"])


@router.get("/v1/ensemble", summary="Where the ensemble stands")
async def get_ensemble(
    desk: Annotated[Desk, Depends(desk_of)],
    caller: Annotated[Caller, Depends(allowed("read"))],
    user: Annotated[Word | None, Query(description="This user's own rounds.")] = None,
) -> dict[str, Any]:
    """The arms with their pulls, edits and mean costs, and what the rule makes of them.

    `low` and `high` are a 95% confidence interval of the mean cost; `bound` is the lower bound UCB compares, `null`
    with other rules and for an arm that was never played. `seq` is the place in the log all of this is of.
    """
    scope = None if user is None else f"{caller.tenant}/{user}"
    found: dict[str, Any] = await desk.ledger(lambda ledger, seq: _standing(ledger, seq, scope))
    for arm in found["arms"]:
        if arm["name"] not in desk.policies:
            arm["status"] = "unavailable"
    return found


@router.get("/v1/models", tags=["completions"], summary="What can be asked for")
async def get_models(
    desk: Annotated[Desk, Depends(desk_of)], caller: Annotated[Caller, Depends(allowed("complete"))]
) -> dict[str, Any]:
    """The models in OpenAI's form: `copydesk`, for which the ensemble chooses, and every policy."""
    names = [ENSEMBLE, *sorted(desk.policies)]
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "copydesk"} for name in names],
    }


@router.post("/v1/policies", status_code=201, summary="Add a policy")
async def post_policy(
    asked: PolicyRequest,
    desk: Annotated[Desk, Depends(desk_of)],
    caller: Annotated[Caller, Depends(allowed("admin"))],
) -> dict[str, Any]:
    """Open a policy and let the ensemble choose it from now on. A name is given once: a retrained policy is a new one.

    `spec` is a model or a policy's folder on this machine, `MODEL@URL` at an OpenAI-compatible server, or
    `vllm:FOLDER@URL` to load an adapter into a vLLM server.
    """
    if asked.name == ENSEMBLE:
        raise ApiError(400, f"{ENSEMBLE!r} is what the ensemble is called", code="invalid_policy", param="name")
    try:
        added = await desk.add(asked.name, asked.spec)
    except InputError as fault:
        raise ApiError(400, str(fault), code="invalid_policy", param="spec") from None
    return {"object": "copydesk.policy", "name": asked.name, "added": added}


@router.delete("/v1/policies/{name}", summary="Retire a policy")
async def delete_policy(
    name: Annotated[str, Path(max_length=64)],
    desk: Annotated[Desk, Depends(desk_of)],
    caller: Annotated[Caller, Depends(allowed("admin"))],
) -> dict[str, Any]:
    """Choose a policy no more. Its statistics and edits stay; edits of its answers are still taken."""
    try:
        await desk.retire(name)
    except LookupError:
        raise ApiError(404, f"there is no policy {name!a}", code="policy_not_found", param="name") from None
    except InputError as fault:
        raise ApiError(409, str(fault), code="last_policy", param="name") from None
    return {"object": "copydesk.policy", "name": name, "retired": True}


def _standing(ledger: Ledger, seq: int, scope: str | None) -> dict[str, Any]:
    settings = ledger.settings
    arms = standings(ledger, scope)
    rule = settings.make_rule() if settings is not None else Ucb()
    bounds: list[float | None] = [None] * len(arms)
    if ledger.started and isinstance(rule, Ucb):
        states = ledger.ensemble.states(scope)
        t = 1 + sum(state.pulls for state in states)
        bounds = [bound if math.isfinite(bound) else None for bound in rule.bounds(states, t)]
    for arm, bound in zip(arms, bounds, strict=True):
        arm["bound"] = bound
    return {
        "object": "copydesk.ensemble",
        "seq": seq,
        "rounds": ledger.ensemble.rounds if ledger.started else 0,
        "pending": len(ledger.ensemble.awaited) if ledger.started else 0,
        "settings": None if settings is None else settings.to_json(),
        "arms": arms,
    }
