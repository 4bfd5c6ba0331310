from copydesk.data.record import EditRecord
from copydesk.diagnose.statistics import LogCountsAccumulator


def test_rows_users_and_policies_are_counted() -> None:
    counting = LogCountsAccumulator()
    for number, (user, policy, edit) in enumerate(
        [("ann", "p", "y"), ("ann", "q", "z"), ("bo", None, "z"), (None, None, None), ("ann", "p", "y")]
    ):
        counting.add(EditRecord(id=str(number), context="x", response="y", edit=edit, user=user, policy=policy))
    counts = counting.result()
    assert (counts.rows, counts.pending, counts.accepted, counts.edited, counts.known) == (5, 1, 2, 2, 4)
    assert (counts.users, counts.named, counts.largest_user, counts.policies) == (2, 4, 3, 2)
    assert counts.accepted_share == 0.5


def test_a_log_that_is_all_pending_has_no_share() -> None:
    counting = LogCountsAccumulator()
    counting.add(EditRecord(id="a", context="x", response="y"))
    assert counting.result().accepted_share is None
