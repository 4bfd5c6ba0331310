"""The page Ensemble: what each policy costs, how often it is played, and the regret.

Its plots are drawn when the log has changed, and cached until it changes again.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from sqlalchemy import Connection, select

from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.ledger import Ledger
from copydesk.gateway.auth import Caller
from copydesk.gateway.dependencies import get_gateway_state
from copydesk.gateway.log_commands import describe_arm_state
from copydesk.gateway.routes.policies import get_ensemble
from copydesk.gateway.state import GatewayState
from copydesk.gateway.web.auth import require_signed_in
from copydesk.gateway.web.charts import (
    EnsembleHistory,
    compute_mean_costs,
    compute_regret_curve,
    compute_share_window,
    draw_costs,
    draw_pulls,
    draw_regret,
    find_best_policy,
    read_history,
)
from copydesk.gateway.web.templating import describe_ensemble_config, render_page
from copydesk.report.style import MethodStyle, method_styles
from copydesk.store import EditStore
from copydesk.store.tables import arms
from copydesk.store.transaction import read_last_seq


def read_policy_styles(connection: Connection) -> dict[str, MethodStyle]:
    """The style of every policy that is or was an arm, in the order they were added; the same on every page."""
    query = select(arms.c.name).where(arms.c.action == "add").order_by(arms.c.seq)
    return method_styles(connection.execute(query).scalars())


@dataclass(frozen=True)
class ChartSet:
    """The plots of the ensemble's history, and their data.

    Attributes:
        seq: the position in the log that they belong to.
        styles: the style of every policy.
        history: the pulls.
        means: the mean cost of each policy that has one.
        best: the policy with the lowest mean cost.
        plots: SVG by name: `costs` and `regret` from two edits on, `pulls` from two pulls on.
    """

    seq: int
    styles: Mapping[str, MethodStyle]
    history: EnsembleHistory
    means: Mapping[str, float]
    best: str | None
    plots: Mapping[str, Markup] = field(default_factory=dict)


class ChartCache:
    """Draws the plots for all requests, one at a time: matplotlib's settings belong to the process."""

    def __init__(self, store: EditStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._current: ChartSet | None = None

    def get_charts(self) -> ChartSet:
        """The current plots. If the log has not changed, this reads its clock only."""
        with self._lock, self._store.begin_read() as connection:
            seq = read_last_seq(connection)
            if self._current is None or self._current.seq != seq:
                self._current = _draw_chart_set(seq, read_history(connection), read_policy_styles(connection))
            return self._current


def _draw_chart_set(seq: int, history: EnsembleHistory, styles: Mapping[str, MethodStyle]) -> ChartSet:
    plots = {}
    if len(history.rounds) > 1:
        plots["pulls"] = draw_pulls(history, styles)
    if history.edit_count > 1:
        plots |= {"costs": draw_costs(history, styles), "regret": draw_regret(history, styles)}
    drawn = {name: Markup(svg) for name, svg in plots.items()}
    return ChartSet(seq, styles, history, compute_mean_costs(history), find_best_policy(history), drawn)


router = APIRouter()


@router.get("/ensemble")
async def get_ensemble_page(
    request: Request,
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_signed_in("read"))],
) -> HTMLResponse:
    """The page. It has statistics of all edits and no texts."""
    chart_cache: ChartCache = request.app.state.chart_cache
    ensemble = await get_ensemble(state, caller, None)
    charts = await run_in_threadpool(chart_cache.get_charts)
    settings = ensemble["settings"]
    arms = [*ensemble["arms"], *await state.read_ledger(_describe_retired_arms)]
    regret_curve = compute_regret_curve(charts.history)[1]
    return render_page(
        request,
        "ensemble.html",
        caller=caller,
        arms=arms,
        scale=max((arm["high"] or arm["mean_cost"] or 0.0 for arm in arms), default=0.0) or 1.0,
        bounded=any(arm["bound"] is not None for arm in arms),
        rounds=ensemble["rounds"],
        pending=ensemble["pending"],
        charts=charts,
        regret=None if not len(regret_curve) else round(float(regret_curve[-1]), 2) + 0.0,  # never -0.00
        window=min(compute_share_window(len(charts.history.rounds)), max(1, len(charts.history.rounds))),
        words={}
        if settings is None
        else describe_ensemble_config(EnsembleConfig.from_json(settings), state.config.cost),
        metric=state.metric,
    )


def _describe_retired_arms(ledger: Ledger, seq: int) -> list[dict[str, Any]]:
    """The retired policies, in the form in which `get_ensemble` describes the active ones."""
    if not ledger.started:
        return []
    retired = ledger.ensemble.retired.items()
    return [{"name": name, "status": "retired", **describe_arm_state(state), "bound": None} for name, state in retired]
