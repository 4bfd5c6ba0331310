"""The numbers behind the plots, on histories worked out by hand."""

import numpy as np
import pytest

from copydesk.ensemble.limits import CountedRounds
from copydesk.gateway.web.charts import (
    MAX_CHART_POINTS,
    EnsembleHistory,
    compute_mean_costs,
    compute_pull_shares,
    compute_regret_curve,
    compute_running_mean,
    compute_share_window,
    find_best_policy,
    read_history,
    thin_points,
)
from copydesk.store import EditStore, write

HISTORY = EnsembleHistory.from_pulls(
    [(1, "a", 0.4), (2, "b", 0.1), (3, "a", None), (5, "b", 0.3), (6, "a", 0.8), (7, "c", None)]
)


def test_means_are_over_the_costs_so_far() -> None:
    line = compute_running_mean(HISTORY, "a")
    assert line.rounds.tolist() == [1, 6]
    np.testing.assert_allclose(line.values, [0.4, 0.6])
    # The sample's standard deviation is 0.2 √2; over √2 edits and times 1.96 that is 0.392.
    np.testing.assert_allclose(line.high, [np.nan, 0.992])
    np.testing.assert_allclose(line.low, [np.nan, 0.208])
    assert compute_mean_costs(HISTORY) == pytest.approx({"a": 0.6, "b": 0.2})
    assert find_best_policy(HISTORY) == "b"
    assert HISTORY.edit_count == 4


def test_a_band_ends_at_nothing_edited() -> None:
    line = compute_running_mean(EnsembleHistory.from_pulls([(1, "a", 0.0), (2, "a", 1.0)]), "a")
    assert line.low[1] == 0.0


def test_shares_are_of_the_last_pulls() -> None:
    rounds, rows = compute_pull_shares(HISTORY, 2)
    assert rounds.tolist() == [1, 2, 3, 5, 6, 7]
    np.testing.assert_allclose(rows, [[1, 0.5, 0.5, 0.5, 0.5, 0.5], [0, 0.5, 0.5, 0.5, 0.5, 0], [0, 0, 0, 0, 0, 0.5]])
    np.testing.assert_allclose(compute_pull_shares(HISTORY, 100)[1][:, -1], [3 / 6, 2 / 6, 1 / 6])


def test_regret_is_against_the_best_mean() -> None:
    rounds, behind = compute_regret_curve(HISTORY)
    assert rounds.tolist() == [1, 2, 5, 6]
    np.testing.assert_allclose(behind, [0.2, 0.1, 0.2, 0.8])


def test_an_empty_history_has_no_curves() -> None:
    for history in (EnsembleHistory.from_pulls([]), EnsembleHistory.from_pulls([(1, "a", None)])):
        assert find_best_policy(history) is None
        assert compute_regret_curve(history)[1].tolist() == []


def test_long_lines_keep_their_ends_and_few_points() -> None:
    assert thin_points(0).tolist() == []
    assert thin_points(3).tolist() == [0, 1, 2]
    kept = thin_points(100_000)
    assert (kept[0], kept[-1], len(kept)) == (0, 99_999, MAX_CHART_POINTS)
    history = EnsembleHistory.from_pulls([(t, "ab"[t % 2], 0.5) for t in range(1, 5001)])
    line = compute_running_mean(history, "a")
    assert (len(line.rounds), line.rounds[-1]) == (MAX_CHART_POINTS, 5000)
    assert compute_pull_shares(history, compute_share_window(5000))[1].shape == (2, MAX_CHART_POINTS)
    np.testing.assert_allclose(compute_pull_shares(history, compute_share_window(5000))[1][:, -1], 0.5)
    assert (compute_share_window(7), compute_share_window(5000)) == (10, 500)


def test_it_reads_the_last_revision_and_leaves_unanswered_pulls_out(store_url: str) -> None:
    store = EditStore.open(store_url)

    def complete(tx, number: int, arm: str, completion_id: str) -> None:
        write.append_completion(
            tx,
            write.StoredCompletion(
                completion_id, 0.0, "default", None, "copydesk", arm, 1.0, number, [], {}, "x", "stop", None
            ),
        )

    with store.begin_write() as tx:
        for number, arm, completion_id in [(1, "a", "c1"), (2, "b", "c2"), (3, "a", "c2"), (4, "b", "c4")]:
            write.append_pull(
                tx, completion_id, at=0.0, round=number, arm=arm, propensity=1.0, scope=None, turn=0, without=[]
            )
        write.append_failure(
            tx, "c2", at=0.0, arm="b", round=2, reason="it failed", rest_until=None
        )  # and a stepped in
        write.append_failure(tx, "c9", at=0.0, arm="b", round=None, reason="requested by name", rest_until=None)
        for number, arm, completion_id in [(1, "a", "c1"), (3, "a", "c2"), (4, "b", "c4")]:
            complete(tx, number, arm, completion_id)
        write.append_edit(tx, "e1", "c1", "y", 0.7, "m", at=0.0)
        write.append_edit(tx, "e2", "c2", "y", 0.3, "m", at=0.0)
        write.append_edit(tx, "e3", "c1", "z", 0.9, "m", at=0.0)
    with store.begin_read() as connection:
        history = read_history(connection, CountedRounds())
    assert history.names == ("a", "b")
    assert history.rounds.tolist() == [1, 3, 4]
    np.testing.assert_allclose(history.costs, [0.9, 0.3, np.nan])
    store.close()
