"""The plots of *Ensemble*, drawn when the log has changed and kept until it changes again."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from markupsafe import Markup
from sqlalchemy import select

from copydesk.gateway.web.charts import draw_costs, draw_pulls, draw_regret
from copydesk.gateway.web.history import EnsembleHistory, compute_mean_costs, find_best_policy, read_history
from copydesk.gateway.web.policies import read_policy_styles
from copydesk.report.style import MethodStyle
from copydesk.store import EditStore
from copydesk.store.tables import clock


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
