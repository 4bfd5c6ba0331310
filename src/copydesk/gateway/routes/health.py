"""Monitoring: `/healthz` and `/metrics`."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from copydesk.gateway.auth import Caller
from copydesk.gateway.dependencies import get_gateway_state, require_scope
from copydesk.gateway.log_commands import describe_arms
from copydesk.gateway.log_writer import StoreUnavailable
from copydesk.gateway.middleware import METRICS_CONTENT_TYPE
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
    caller: Annotated[Caller, Depends(require_scope("read"))],
) -> Response:
    """Metrics of requests, policies and arms in Prometheus' text format."""
    arms: list[dict[str, Any]] = await state.read_ledger(lambda ledger, seq: describe_arms(ledger))
    for gauge in (state.metrics.pulls, state.metrics.pending, state.metrics.mean_cost, state.metrics.available):
        gauge.clear()
    for arm in arms:
        name = arm["name"]
        state.metrics.pulls.labels(name).set(arm["pulls"])
        state.metrics.pending.labels(name).set(arm["pending"])
        state.metrics.available.labels(name).set(arm["status"] == "active" and name in state.policies)
        if arm["mean_cost"] is not None:
            state.metrics.mean_cost.labels(name).set(arm["mean_cost"])
    return Response(state.metrics.render(), headers={"content-type": METRICS_CONTENT_TYPE})
