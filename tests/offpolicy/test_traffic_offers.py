"""Which arms a choice was made from, where some arms are for some people only."""

from typing import Any

import pytest

from copydesk.store import write
from copydesk.store.users import assign_group


def give(log: Any, name: str, audience: str) -> None:
    with log.store.begin_write() as tx:
        write.append_arm_change(tx, name, "add", "s", at=0.0, audience=audience)


@pytest.fixture
def personal(log: Any) -> Any:
    """Arms for all, for ann and for a group, in which ann is only for a while."""
    log.arm("a")
    give(log, "ann-1", "default/ann")
    give(log, "sales-1", "@default/sales")
    log.answer("a", 1.0, 0.5)
    with log.store.begin_write() as tx:
        assign_group(tx, "sales", ["ann"], "default", at=0.0)
    log.answer("a", 1.0, 0.5, without=["ann-1"])
    log.answer("a", 1.0, 0.5, user="bob")
    log.answer("a", 1.0, 0.5, user=None)
    log.answer("a", 1.0, 0.5, tenant="other")
    with log.store.begin_write() as tx:
        assign_group(tx, None, ["ann"], "default", at=0.0)
    log.answer("a", 1.0, 0.5)
    return log


def test_an_arm_with_an_audience_is_not_available_to_others(personal: Any) -> None:
    assert [set(row.available_arms) for row in personal.read().rows] == [
        {"a", "ann-1"}, {"a", "sales-1"}, {"a"}, {"a"}, {"a"}, {"a", "ann-1"},
    ]  # fmt: skip


def test_the_traffic_of_a_group_or_a_tenant(personal: Any) -> None:
    with personal.store.begin_write() as tx:
        assign_group(tx, "sales", ["bob"], "default", at=0.0)
    assert [row.id for row in personal.read(group="sales").rows] == ["c3"]
    assert [row.id for row in personal.read(tenant="other").rows] == ["c5"]
