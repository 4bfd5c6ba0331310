"""What the ensemble did, round by round: read from the store, and made into the lines of the plots."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from copydesk.ensemble.arm_stats import Z_95
from copydesk.store import tables

MAX_CHART_POINTS = 500
"""Points of a line, at most: more cannot be seen."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class EnsembleHistory:
    """The ensemble's pulls in their order, those left out that were never answered.

    Attributes:
        names: the policies that were pulled, in the order of their first pull.
        rounds: the number of each pull.
        arms: the place of its policy among the names.
        costs: what its edit cost, NaN while that is awaited.
    """

    names: tuple[str, ...]
    rounds: Ints
    arms: Ints
    costs: Floats

    @classmethod
    def from_pulls(cls, pulls: Sequence[tuple[int, str, float | None]]) -> "EnsembleHistory":
        """The history of (round, policy, cost) triples."""
        names = tuple(dict.fromkeys(name for _, name, _ in pulls))
        place = {name: index for index, name in enumerate(names)}
        return cls(
            names,
            np.array([number for number, _, _ in pulls], dtype=np.int64),
            np.array([place[name] for _, name, _ in pulls], dtype=np.int64),
            np.array([np.nan if cost is None else cost for _, _, cost in pulls], dtype=np.float64),
        )

    @property
    def edit_count(self) -> int:
        """How many pulls have a cost."""
        return int(np.isfinite(self.costs).sum())


@dataclass(frozen=True)
class ChartLine:
    """A curve over the rounds, with its band: NaN where there is none yet."""

    rounds: Ints
    values: Floats
    low: Floats
    high: Floats


def read_history(connection: Connection) -> EnsembleHistory:
    """The pulls in the log, each with the cost of the edit that counts."""
    pulls, edits, withdrawals = tables.pulls, tables.edits, tables.withdrawals
    unanswered = select(withdrawals.c.round).where(withdrawals.c.round.is_not(None))
    query = (
        select(pulls.c.round, pulls.c.arm, edits.c.cost)
        .select_from(pulls.outerjoin(edits, edits.c.completion_id == pulls.c.completion_id))
        .where(pulls.c.round.not_in(unanswered))
        .order_by(pulls.c.round, edits.c.revision)
    )
    latest = {number: (name, cost) for number, name, cost in connection.execute(query)}  # the last revision stays
    return EnsembleHistory.from_pulls([(number, name, cost) for number, (name, cost) in latest.items()])


def compute_running_mean(history: EnsembleHistory, name: str) -> ChartLine:
    """A policy's mean cost over its pulls so far, after each of them, with a 95% confidence band."""
    mine = (history.arms == history.names.index(name)) & np.isfinite(history.costs)
    rounds, costs = history.rounds[mine], history.costs[mine]
    count = np.arange(1, len(costs) + 1)
    mean = np.cumsum(costs) / count
    spread = np.maximum(np.cumsum(costs**2) - count * mean**2, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.where(count > 1, Z_95 * np.sqrt(spread / (count - 1) / count), np.nan)
    keep = thin_points(len(costs))
    return ChartLine(rounds[keep], mean[keep], np.maximum(mean - half, 0.0)[keep], (mean + half)[keep])


def compute_pull_shares(history: EnsembleHistory, width: int) -> tuple[Ints, Floats]:
    """Which share of the last `width` pulls each policy had: the rounds, and one row of shares a policy."""
    count = len(history.rounds)
    keep = thin_points(count)
    first = np.maximum(keep - width + 1, 0)
    rows = []
    for index in range(len(history.names)):
        so_far = np.concatenate([[0], np.cumsum(history.arms == index)])
        rows.append((so_far[keep + 1] - so_far[first]) / (keep + 1 - first))
    return history.rounds[keep], np.array(rows, dtype=np.float64)


def compute_regret_curve(history: EnsembleHistory) -> tuple[Ints, Floats]:
    """By how much all edits so far cost more than as many at the mean of the best policy, as it is known now."""
    observed = np.isfinite(history.costs)
    best = find_best_policy(history)
    if best is None:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    behind = np.cumsum(history.costs[observed] - compute_mean_costs(history)[best])
    keep = thin_points(len(behind))
    return history.rounds[observed][keep], behind[keep]


def compute_mean_costs(history: EnsembleHistory) -> dict[str, float]:
    """The mean cost of each policy that has one."""
    costs = {name: history.costs[history.arms == index] for index, name in enumerate(history.names)}
    return {name: float(np.nanmean(mine)) for name, mine in costs.items() if np.isfinite(mine).any()}


def find_best_policy(history: EnsembleHistory) -> str | None:
    """The policy with the lowest mean cost."""
    means = compute_mean_costs(history)
    return min(means, key=means.__getitem__, default=None)


def compute_share_window(pulls: int) -> int:
    """Over how many pulls shares are taken: a tenth of all, but at least ten."""
    return max(10, pulls // 10)


def thin_points(count: int, most: int = MAX_CHART_POINTS) -> Ints:
    """The places of at most `most` of `count` points, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64))
