"""*Ensemble*: what each policy costs, how often it is played, and what trying them out has cost.

The plots of *Ensemble*, drawn when the log has changed and kept until it changes again.

The policies there are or were, and their colours: the same on every page.
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
from copydesk.store.tables import arms, clock


def read_policy_styles(connection: Connection) -> dict[str, MethodStyle]:
    """Every policy that ever was an arm, in the order they came, with its look."""
    query = select(arms.c.name).where(arms.c.action == "add").order_by(arms.c.seq)
    return method_styles(connection.execute(query).scalars())


@dataclass(frozen=True)
class ChartSet:
    """What the log makes of the ensemble's past.

    Attributes:
        seq: the place in the log it is of.
        styles: of every policy.
        history: the pulls.
        means: the mean cost of each policy that has one.
        best: the policy with the lowest.
        plots: by name: `costs` and `regret` once there are two edits, `pulls` once there are two pulls.
    """

    seq: int
    styles: Mapping[str, MethodStyle]
    history: EnsembleHistory
    means: Mapping[str, float]
    best: str | None
    plots: Mapping[str, Markup] = field(default_factory=dict)


class ChartCache:
    """Draws for all requests, one at a time: matplotlib's settings are those of the process."""

    def __init__(self, store: EditStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._current: ChartSet | None = None

    def get_charts(self) -> ChartSet:
        """What there is to see now. A reload costs one look at the log's clock."""
        with self._lock, self._store.begin_read() as connection:
            seq = int(connection.execute(select(clock.c.seq)).scalar_one())
            if self._current is None or self._current.seq != seq:
                self._current = _draw_chart_set(seq, read_history(connection), read_policy_styles(connection))
            return self._current


def _draw_chart_set(seq: int, history: EnsembleHistory, looks: Mapping[str, MethodStyle]) -> ChartSet:
    plots = {}
    if len(history.rounds) > 1:
        plots["pulls"] = draw_pulls(history, looks)
    if history.edit_count > 1:
        plots |= {"costs": draw_costs(history, looks), "regret": draw_regret(history, looks)}
    drawn = {name: Markup(svg) for name, svg in plots.items()}
    return ChartSet(seq, looks, history, compute_mean_costs(history), find_best_policy(history), drawn)


router = APIRouter()


@router.get("/ensemble")
async def get_ensemble_page(
    request: Request,
    state: Annotated[GatewayState, Depends(get_gateway_state)],
    caller: Annotated[Caller, Depends(require_signed_in("read"))],
) -> HTMLResponse:
    """The page. It holds statistics of everyone's edits, and nobody's text."""
    chart_cache: ChartCache = request.app.state.chart_cache
    standing = await get_ensemble(state, caller, None)
    show = await run_in_threadpool(chart_cache.get_charts)
    settings = standing["settings"]
    arms = [*standing["arms"], *await state.read_ledger(_describe_retired_arms)]
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
        else describe_ensemble_config(EnsembleConfig.from_json(settings), state.config.cost),
        metric=state.metric,
    )


def _describe_retired_arms(ledger: Ledger, seq: int) -> list[dict[str, Any]]:
    """The policies that are offered no more, as `get_ensemble` tells of the others."""
    if not ledger.started:
        return []
    retired = ledger.ensemble.retired.items()
    return [{"name": name, "status": "retired", **describe_arm_state(state), "bound": None} for name, state in retired]
