"""Monitoring: `/healthz` and `/metrics`."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from copydesk.gateway.auth import Caller
from copydesk.gateway.dependencies import get_gateway_state, require_scope
from copydesk.gateway.log_commands import describe_arms
from copydesk.gateway.log_writer import StoreUnavailable
from copydesk.gateway.middleware import METRICS_CONTENT_TYPE, PERSONAL_LABEL
from copydesk.gateway.state import GatewayState

router = APIRouter(tags=["operations"])

_HEALTH_TIMEOUT = 5.0  # seconds


@router.get("/healthz", summary="Health check", responses={503: {"description": "The gateway cannot answer."}})
async def healthz(state: Annotated[GatewayState, Depends(get_gateway_state)]) -> JSONResponse:
    """200 if the store can be written to and a policy is open; needs no API key."""
    try:
        await asyncio.wait_for(state.read_ledger(lambda ledger, seq: seq), _HEALTH_TIMEOUT)
    except (StoreUnavailable, TimeoutError):
        return JSONResponse({"status": "the store cannot be written to"}, 503)
    if not state.policies:
        return JSONResponse({"status": "no policy is open"}, 503)
    return JSONResponse({"status": "ok"})


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
)
async def metrics(
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_scope("metrics"))],
) -> Response:
    """Metrics of requests, policies and arms in Prometheus' text format, without texts and names of users.

    All policies that are for some users only have one label, `personal`, and are counted together.
    """
    arms: list[dict[str, Any]] = await state.read_ledger(lambda ledger, seq: describe_arms(ledger))
    _set_arm_gauges(state, arms)
    return Response(state.metrics.render(), headers={"content-type": METRICS_CONTENT_TYPE})


def _set_arm_gauges(state: GatewayState, arms: list[dict[str, Any]]) -> None:
    metrics = state.metrics
    for gauge in (metrics.pulls, metrics.pending, metrics.mean_cost, metrics.available):
        gauge.clear()
    groups: dict[str, list[dict[str, Any]]] = {}
    for arm in arms:
        groups.setdefault(PERSONAL_LABEL if arm["audience"] is not None else arm["name"], []).append(arm)
    for label, group in groups.items():
        metrics.pulls.labels(label).set(sum(arm["pulls"] for arm in group))
        metrics.pending.labels(label).set(sum(arm["pending"] for arm in group))
        available = [arm["status"] == "active" and arm["name"] in state.policies for arm in group]
        metrics.available.labels(label).set(any(available))
        if observed := sum(arm["observed"] for arm in group):
            metrics.mean_cost.labels(label).set(sum(arm["cost_sum"] for arm in group) / observed)
