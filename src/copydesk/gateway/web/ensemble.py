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
from copydesk.ensemble.limits import CountedRounds
from copydesk.gateway.auth import Caller
from copydesk.gateway.dependencies import get_gateway_state
from copydesk.gateway.log_commands import describe_arm_state, describe_majority_user
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

_MAX_CHART_SETS = 64  # plots for different sets of hidden policies that are kept at a time


def read_policy_styles(connection: Connection) -> dict[str, MethodStyle]:
    """The style of every policy that is or was an arm, in the order they were added; the same on every page."""
    query = select(arms.c.name).where(arms.c.action == "add").order_by(arms.c.seq)
    return method_styles(connection.execute(query).scalars())


@dataclass(frozen=True)
class ChartSet:
    """The plots of the ensemble's history, and their data.

    Attributes:
        styles: the style of every policy that is shown.
        history: the pulls.
        means: the mean cost of each policy that has one.
        best: the policy with the lowest mean cost.
        plots: SVG by name: `costs` and `regret` from two edits on, `pulls` from two pulls on.
    """

    styles: Mapping[str, MethodStyle]
    history: EnsembleHistory
    means: Mapping[str, float]
    best: str | None
    plots: Mapping[str, Markup] = field(default_factory=dict)


class ChartCache:
    """Draws the plots for all requests, one at a time: matplotlib's settings belong to the process.

    They are kept until the log changes, one set for each set of hidden policies: every tenant may have its own.
    """

    def __init__(self, store: EditStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._seq = -1
        self._sets: dict[frozenset[str], ChartSet] = {}

    def get_charts(self, seq: int, counted: CountedRounds, hidden: frozenset[str]) -> ChartSet:
        """The plots.

        Args:
            seq: number of the last event in the log.
            counted: the rounds that exceeded a limit, up to that event.
            hidden: policies that are not shown.
        """
        with self._lock:
            if self._seq != seq or len(self._sets) >= _MAX_CHART_SETS:
                self._seq, self._sets = seq, {}
            if hidden not in self._sets:
                with self._store.begin_read() as connection:
                    styles = read_policy_styles(connection)
                    history = read_history(connection, counted, seq, hidden)
                visible = {name: style for name, style in styles.items() if name not in hidden}
                self._sets[hidden] = _draw_chart_set(history, visible)
            return self._sets[hidden]


def _draw_chart_set(history: EnsembleHistory, styles: Mapping[str, MethodStyle]) -> ChartSet:
    plots = {}
    if len(history.rounds) > 1:
        plots["pulls"] = draw_pulls(history, styles)
    if history.edit_count > 1:
        plots |= {"costs": draw_costs(history, styles), "regret": draw_regret(history, styles)}
    drawn = {name: Markup(svg) for name, svg in plots.items()}
    return ChartSet(styles, history, compute_mean_costs(history), find_best_policy(history), drawn)


router = APIRouter()


@router.get("/ensemble")
async def get_ensemble_page(
    request: Request,
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_signed_in("read"))],
) -> HTMLResponse:
    """The page. It has statistics of all edits and no texts, and nothing of policies for users of other tenants."""
    chart_cache: ChartCache = request.app.state.chart_cache
    ensemble = await get_ensemble(state, caller, None)
    retired, *drawn = await state.read_ledger(lambda ledger, seq: _read_page_state(ledger, seq, caller))
    charts = await run_in_threadpool(chart_cache.get_charts, *drawn)
    settings = ensemble["settings"]
    arms = [arm for arm in (*ensemble["arms"], *retired) if arm["name"] in charts.styles]
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


def _read_page_state(
    ledger: Ledger, seq: int, caller: Caller
) -> tuple[list[dict[str, Any]], int, CountedRounds, frozenset[str]]:
    """The retired policies, as `get_ensemble` describes the active ones, and what `ChartCache.get_charts` needs."""
    retired = ledger.ensemble.retired if ledger.started else {}
    described = [
        {
            "name": name,
            "status": "retired",
            **describe_arm_state(state),
            "bound": None,
            "majority_user": describe_majority_user(ledger, name, caller.tenant, caller.user),
        }
        for name, state in retired.items()
    ]
    hidden = {name for name, audience in ledger.audiences.items() if not caller.may_see(audience)}
    return described, seq, ledger.limits.rounds.copy(), frozenset(hidden)
