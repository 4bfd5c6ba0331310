"""What a store says of each user, and putting users in groups."""

from collections.abc import Iterator

import pytest

from copydesk.errors import InputError
from copydesk.store import EditStore, write
from copydesk.store.events import MembershipChanged, read_events
from copydesk.store.users import (
    StoredUser,
    assign_group,
    group_scope,
    parse_scope,
    read_current_metric,
    read_users,
    user_scope,
)
from copydesk.store.write import StoredCompletion


@pytest.fixture
def store(store_url: str) -> Iterator[EditStore]:
    opened = EditStore.open(store_url)
    yield opened
    opened.close()


def answer(store: EditStore, name: str, user: str | None, *costs: float, tenant: str = "default", metric="m") -> None:
    at = float(name.removeprefix("c"))
    with store.begin_write() as tx:
        asked = [{"role": "user", "content": "x"}]
        completion = StoredCompletion(name, at, tenant, user, "copydesk", "a", 1.0, None, asked, {}, "y", "stop", None)
        write.append_completion(tx, completion)
        for revision, cost in enumerate(costs):
            write.append_edit(tx, f"e{name}-{revision}", name, f"z{revision}", cost, metric, at=at + 1 + revision)


def people(store: EditStore, **only: str) -> list[StoredUser]:
    with store.begin_read() as connection:
        return list(read_users(connection, "m", **only))


def test_users_are_summed_up(store: EditStore) -> None:
    answer(store, "c10", "ann", 0.5, 0.2)  # a revision: the latest counts
    answer(store, "c20", "ann", 0.6)
    answer(store, "c30", "ann")
    answer(store, "c40", "bob", 0.9, metric="another")
    answer(store, "c50", "ann", 1.0, tenant="acme")
    answer(store, "c60", None, 0.1)  # names nobody
    found = {(one.tenant, one.user): one for one in people(store)}
    assert list(found) == [("acme", "ann"), ("default", "ann"), ("default", "bob")]
    ann, bob = found["default", "ann"], found["default", "bob"]
    assert (ann.completions, ann.edits, ann.pending, ann.otherwise) == (3, 2, 1, 0)
    assert ann.mean_cost == pytest.approx(0.4)
    assert ann.last_seen is not None
    assert ann.last_seen.timestamp() == 30.0
    assert (bob.mean_cost, bob.otherwise) == (None, 1)
    assert bob.last_seen is not None
    assert bob.last_seen.timestamp() == 41.0  # by the edit
    assert [one.user for one in people(store, tenant="acme")] == ["ann"]


def test_groups_and_the_arms_for_people_are_told(store: EditStore) -> None:
    answer(store, "c10", "ann")
    with store.begin_write() as tx:
        assert assign_group(tx, "sales", ["ann", "bob", "ann"], "default", at=1.0) == ["ann", "bob"]
        write.append_arm_change(tx, "for-ann", "add", "s", at=2.0, audience=user_scope("default", "ann"))
        write.append_arm_change(tx, "for-sales", "add", "s", at=2.0, audience=group_scope("default", "sales"))
        write.append_arm_change(tx, "gone", "add", "s", at=2.0, audience=user_scope("default", "ann"))
        write.append_arm_change(tx, "gone", "retire", None, at=3.0)
        write.append_arm_change(tx, "for-all", "add", "s", at=2.0)
    ann, bob = people(store)
    assert (ann.group, ann.arms) == ("sales", ("for-ann", "for-sales"))
    assert (bob.user, bob.group, bob.completions, bob.last_seen, bob.arms) == ("bob", "sales", 0, None, ("for-sales",))
    with store.begin_write() as tx:
        assert assign_group(tx, "sales", ["ann"], "default", at=2.0) == []  # nothing to log
        assert assign_group(tx, None, ["bob"], "default", at=2.0) == ["bob"]
        assert assign_group(tx, "support", ["ann"], "default", at=2.0) == ["ann"]
    (ann,) = people(store)
    assert (ann.group, ann.arms) == ("support", ("for-ann",))
    with store.begin_read() as connection:
        joined = [(one.user, one.group) for one in read_events(connection) if isinstance(one, MembershipChanged)]
    assert joined == [("ann", "sales"), ("bob", "sales"), ("bob", None), ("ann", "support")]


def test_the_metric_in_use_is_the_ensembles_or_the_latest_edits(store: EditStore) -> None:
    def metric() -> str:
        with store.begin_read() as connection:
            return read_current_metric(connection)

    assert metric() == ""
    answer(store, "c10", "ann", 0.5, metric="old")
    answer(store, "c20", "ann", 0.5, metric="new")
    assert metric() == "new"
    with store.begin_write() as tx:
        write.append_config(tx, {"metric": "followed"}, at=1.0)
    assert metric() == "followed"


@pytest.mark.parametrize("wrong", ["", "x" * 257, "a\x00b"])
def test_names_no_request_could_hold_are_refused(store: EditStore, wrong: str) -> None:
    for group, user in ((wrong, "ann"), ("sales", wrong)):
        with store.begin_write() as tx, pytest.raises(InputError, match=r"give a name of 1 to 256 characters"):
            assign_group(tx, group, [user], "default", at=1.0)


def test_no_user_is_called_what_a_group_is() -> None:
    for name in ("a", "@a", "a/b", "/a", "ä"):
        assert parse_scope(user_scope("t", name)) == {"tenant": "t", "user": name}
        assert parse_scope(group_scope("t", name)) == {"tenant": "t", "group": name}
    assert parse_scope("") == {}  # of a person who was forgotten
