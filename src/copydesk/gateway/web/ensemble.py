"""*Ensemble*: what each policy costs, how often it is played, and what trying them out has cost."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.ledger import Ledger
from copydesk.gateway.auth import Caller
from copydesk.gateway.dependencies import get_gateway_state
from copydesk.gateway.log_commands import describe_arm_state
from copydesk.gateway.routes.policies import get_ensemble
from copydesk.gateway.state import GatewayState
from copydesk.gateway.web.gallery import ChartCache
from copydesk.gateway.web.history import compute_regret_curve, compute_share_window
from copydesk.gateway.web.templating import render_page
from copydesk.gateway.web.visitors import require_signed_in
from copydesk.gateway.web.words import describe_ensemble_config

router = APIRouter()


@router.get("/ensemble")
async def get_ensemble_page(
    request: Request,
    desk: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_signed_in("read"))],
) -> HTMLResponse:
    """The page. It holds statistics of everyone's edits, and nobody's text."""
    gallery: ChartCache = request.app.state.gallery
    standing = await get_ensemble(desk, caller, None)
    show = await run_in_threadpool(gallery.get_charts)
    settings = standing["settings"]
    arms = [*standing["arms"], *await desk.read_ledger(_describe_retired_arms)]
    behind = compute_regret_curve(show.history)[1]
    return render_page(
        request,
        "ensemble.html",
        caller=caller,
        arms=arms,
        scale=max((arm["high"] or arm["mean_cost"] or 0.0 for arm in arms), default=0.0) or 1.0,
        bounded=any(arm["bound"] is not None for arm in arms),
        rounds=standing["rounds"],
        pending=standing["pending"],
        show=show,
        regret=None if not len(behind) else round(float(behind[-1]), 2) + 0.0,  # never -0.00
        window=min(compute_share_window(len(show.history.rounds)), max(1, len(show.history.rounds))),
        words={}
        if settings is None
        else describe_ensemble_config(EnsembleConfig.from_json(settings), desk.config.cost),
        metric=desk.metric,
    )


def _describe_retired_arms(ledger: Ledger, seq: int) -> list[dict[str, Any]]:
    """The policies that are offered no more, as `get_ensemble` tells of the others."""
    if not ledger.started:
        return []
    retired = ledger.ensemble.retired.items()
    return [{"name": name, "status": "retired", **describe_arm_state(state), "bound": None} for name, state in retired]
