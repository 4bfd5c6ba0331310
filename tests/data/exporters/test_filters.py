from collections import Counter
from datetime import UTC, datetime

import pytest

from copydesk.data import EditCost, EditRecord
from copydesk.data.exporters import RecordFilter, filter_records

WORDS = EditCost(unit="word")


def record(id: str, edit: str | None = "a b c d", user: str = "ann", day: int | None = 1) -> EditRecord:
    at = None if day is None else datetime(2026, 1, day, tzinfo=UTC)
    return EditRecord(
        id=id, context="c", response="a b c d", edit=edit, user=user, policy=f"of-{user}", created_at=at
    )  # fmt: skip


LOG = [
    record("accepted"),
    record("a quarter", "a b c x", user="bob", day=2),
    record("half", "a b x x", day=3),
    record("pending", None, day=3),
    record("timeless", "x", day=None),
]


@pytest.mark.parametrize(
    ("wanted", "found", "left_out"),
    [
        (RecordFilter(), ["accepted", "a quarter", "half", "timeless"], {"pending": 1}),
        (RecordFilter(pending=True), [one.id for one in LOG], {}),
        (RecordFilter(user="bob"), ["a quarter"], {"another user": 4}),
        (RecordFilter(policy="of-bob"), ["a quarter"], {"another policy": 4}),
        (
            RecordFilter(since=datetime(2026, 1, 2, tzinfo=UTC)),
            ["a quarter", "half"],
            {"another time": 1, "pending": 1, "no created_at": 1},
        ),
        (
            RecordFilter(until=datetime(2026, 1, 3, tzinfo=UTC), pending=True),
            ["accepted", "a quarter"],
            {"another time": 2, "no created_at": 1},
        ),
        (RecordFilter(at_least=0.25), ["a quarter", "half", "timeless"], {"another cost": 1, "pending": 1}),
        (RecordFilter(at_most=0.25), ["accepted", "a quarter"], {"another cost": 2, "pending": 1}),
        (
            RecordFilter(at_least=0.25, at_most=0.5, user="ann", pending=True),
            ["half"],
            {"another user": 1, "another cost": 2, "pending": 1},
        ),
    ],
)
def test_what_is_wanted_goes_out_and_the_rest_is_counted(
    wanted: RecordFilter, found: list[str], left_out: dict[str, int]
) -> None:
    others: Counter[str] = Counter()
    assert [one.id for one in filter_records(LOG, wanted, others, WORDS)] == found
    assert others == left_out
