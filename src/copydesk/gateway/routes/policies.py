"""The ensemble's state, its arms (list, add, retire), and the list of models."""

import math
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError
from copydesk.gateway.auth import Caller
from copydesk.gateway.dependencies import get_gateway_state, require_scope
from copydesk.gateway.errors import ApiError
from copydesk.gateway.log_commands import describe_arms
from copydesk.gateway.schemas import ENSEMBLE_MODEL, PolicyRequest, ShortText
from copydesk.gateway.state import GatewayState
from copydesk.store.users import group_scope, user_scope

router = APIRouter(tags=["ensemble"])


@router.get("/v1/ensemble", summary="State of the ensemble")
async def get_ensemble(
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_scope("read"))],
    user: Annotated[ShortText | None, Query(description="Only the arms that this user is offered.")] = None,
) -> dict[str, Any]:
    """The arms with their pulls, edits and mean costs, and the rule's bounds.

    `low` and `high` are a 95% confidence interval of the mean cost; `bound` is the lower bound that UCB compares,
    `null` with other rules and for an arm without pulls. `audience` is the user or group that an arm is for, `null`
    if it is for everyone. `seq` is the position in the log that the statistics belong to.

    With `user`: the arms that this user is offered, with the statistics that decide for them, their own or their
    group's. Without: a key without the scope `admin` sees no arm that is for another tenant's users.
    """
    requester = None if user is None else user_scope(caller.tenant, user)
    found: dict[str, Any] = await state.read_ledger(lambda ledger, seq: _describe_ensemble(ledger, seq, requester))
    if "admin" not in caller.scopes:
        found["arms"] = [arm for arm in found["arms"] if _is_visible(arm["audience"], caller.tenant)]
    for arm in found["arms"]:
        if arm["name"] not in state.policies:
            arm["status"] = "unavailable"
    return found


@router.get("/v1/models", tags=["completions"], summary="List models")
async def get_models(
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_scope("complete"))],
    user: Annotated[ShortText | None, Query(description="Include the policies that are for this user.")] = None,
) -> dict[str, Any]:
    """The models in OpenAI's format: `copydesk`, which lets the ensemble choose, and every policy for everyone.

    With `user`, also the policies for this user or their group.
    """
    requester = None if user is None else user_scope(caller.tenant, user)
    names = [ENSEMBLE_MODEL, *sorted(state.policies.keys() - await state.policies_hidden_from(requester))]
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "copydesk"} for name in names],
    }


@router.post("/v1/policies", status_code=201, summary="Add a policy")
async def post_policy(
    asked: PolicyRequest,
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_scope("admin"))],
) -> dict[str, Any]:
    """Open a policy as an arm of the ensemble. Names are unique: a retrained policy takes a new one.

    `spec` is a model or a policy's folder on this machine, `MODEL@URL` at an OpenAI-compatible server, or
    `vllm:FOLDER@URL` to load an adapter into a vLLM server; the gateway's operator names the servers that a spec may
    name (`copydesk serve --upstream`). With `user` or `group` it answers only this user of
    the key's tenant, or the users of this group.
    """
    if asked.name == ENSEMBLE_MODEL:
        raise ApiError(
            400, f"{ENSEMBLE_MODEL!r} is the name of the ensemble; choose another", code="invalid_policy", param="name"
        )
    audience = None
    if asked.user is not None:
        audience = user_scope(caller.tenant, asked.user)
    elif asked.group is not None:
        audience = group_scope(caller.tenant, asked.group)
    try:
        state.upstreams.check_allowed(asked.spec)
        added = await state.add_policy(asked.name, asked.spec, audience)
    except InputError as exc:
        raise ApiError(400, str(exc), code="invalid_policy", param="spec") from None
    return {"object": "copydesk.policy", "name": asked.name, "added": added}


@router.delete("/v1/policies/{name}", summary="Retire a policy")
async def delete_policy(
    name: Annotated[str, Path(max_length=64)],
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_scope("admin"))],
) -> dict[str, Any]:
    """Retire a policy. Its statistics and edits stay, and edits of its answers are still accepted."""
    try:
        await state.retire_policy(name)
    except LookupError:
        raise ApiError(404, f"there is no policy {name!a}", code="policy_not_found", param="name") from None
    except InputError as exc:
        raise ApiError(409, str(exc), code="last_policy", param="name") from None
    return {"object": "copydesk.policy", "name": name, "retired": True}


def _is_visible(audience: dict[str, str] | None, tenant: str) -> bool:
    return audience is None or audience.get("tenant") == tenant


def _describe_ensemble(ledger: Ledger, seq: int, requester: str | None) -> dict[str, Any]:
    settings, scope = ledger.config, ledger.deciding_scope(requester)
    others = set() if requester is None else ledger.arms_hidden_from(requester)
    arms = describe_arms(ledger, scope, others)
    bounds: list[float | None] = [None] * len(arms)
    if ledger.started:
        states = ledger.ensemble.states(scope, others)
        t = 1 + sum(state.pulls for state in states)
        found = (settings or EnsembleConfig()).make_rule().compute_bounds(states, t)
        bounds = [bound if math.isfinite(bound) else None for bound in found or ()] or bounds
    for arm, bound in zip(arms, bounds, strict=True):
        arm["bound"] = bound
    return {
        "object": "copydesk.ensemble",
        "seq": seq,
        "rounds": ledger.ensemble.rounds if ledger.started else 0,
        "pending": len(ledger.ensemble.pending) if ledger.started else 0,
        "settings": None if settings is None else settings.to_json(),
        "arms": arms,
    }
