"""Rows of other logs in the store: each once, and out again as they went in."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from copydesk.data.record import EditRecord, Message
from copydesk.ensemble import verify_log
from copydesk.store import EditStore, read_edits, tables, write
from copydesk.store.events import read_events
from copydesk.store.imports import ImportedRow, ImportOutcome, append_imported_rows, compute_content_digest


@pytest.fixture
def store(store_url: str):
    opened = EditStore.open(store_url)
    yield opened
    opened.close()


def row(record: EditRecord, cost: float = 0.5, tenant: str = "default") -> ImportedRow:
    return ImportedRow(record, compute_content_digest(record, tenant), None if record.edit is None else cost)


def add(store: EditStore, *records: EditRecord, tenant: str = "default") -> list[ImportOutcome]:
    with store.begin_write() as tx:
        since = tx.start_seq
        return append_imported_rows(
            tx, [row(one, tenant=tenant) for one in records], "m", tenant, since=since, at=5000.0
        )


def everything(store: EditStore) -> list[EditRecord]:
    with store.begin_read() as connection:
        return [found.record for found in read_edits(connection, pending=True)]


def record(name: str = "a", **fields) -> EditRecord:
    return EditRecord(**({"id": name, "context": "c", "response": f"to {name}", "edit": "e"} | fields))


RECORDS = [
    record("text"),
    record("accepted", edit="to accepted"),
    record("pending", edit=None),
    record("chat", context=(Message(role="user", content="one turn alone"),)),
    record("long chat", context=(Message(role="system", content="s"), Message(role="user", content="u", name="ann"))),
    record("empty", context="", response="", edit=""),
    record("all", user="ann", policy="gpt", propensity=0.25, metadata={"a": [1, None, {"b": "ü"}], "cost": 0.5}),
    record("moment", created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=2)))),
    record("certain", propensity=1.0),
]


def test_rows_come_out_as_they_went_in_and_in_their_order(store: EditStore) -> None:
    assert add(store, *RECORDS) == ["added"] * len(RECORDS)
    found = everything(store)
    assert found == RECORDS
    assert [one.model_dump(mode="json") for one in found] == [one.model_dump(mode="json") for one in RECORDS]


def test_one_content_is_stored_once(store: EditStore) -> None:
    again = record("another id", response="to a")
    assert add(store, record("a"), again, record("b")) == ["added", "repeated", "added"]
    assert add(store, record("a"), again, record("c")) == ["known", "known", "added"]
    assert [one.id for one in everything(store)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "other",
    [
        {"context": "d"},
        {"context": (Message(role="user", content="c"),)},
        {"response": "r"},
        {"edit": "f"},
        {"edit": None},
        {"user": "ann"},
        {"policy": "p"},
        {"propensity": 1.0},
        {"created_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"metadata": {"a": 1}},
    ],
)
def test_rows_that_differ_in_anything_but_the_id_are_two(other: dict, store: EditStore) -> None:
    assert add(store, record("a"), record("b", **({"response": "to a"} | other))) == ["added", "added"]


def test_the_same_moment_in_another_time_zone_is_the_same(store: EditStore) -> None:
    here = datetime(2026, 1, 1, 12, tzinfo=UTC)
    there = here.astimezone(timezone(timedelta(hours=5)))
    assert add(store, record("a", created_at=here), record("a", created_at=there)) == ["added", "repeated"]


def test_tenants_have_logs_of_their_own(store: EditStore) -> None:
    assert add(store, record("a")) == ["added"]
    assert add(store, record("b", response="to a"), tenant="other") == ["added"]


def test_an_edit_that_came_later_is_a_revision(store: EditStore) -> None:
    assert add(store, record("a", edit=None)) == ["added"]
    assert add(store, record("a", edit="first")) == ["updated"]
    assert add(store, record("a", edit="second"), record("a", edit="third")) == ["updated", "updated"]
    (found,) = everything(store)
    assert found.edit == "third"
    with store.begin_read() as connection:
        query = select(tables.edits.c.revision, tables.edits.c.edit, tables.edits.c.previous_cost)
        revisions = connection.execute(query.order_by(tables.edits.c.seq)).all()
    assert [tuple(one) for one in revisions] == [(1, "first", None), (2, "second", 0.5), (3, "third", 0.5)]
    # An older copy of the log says nothing new.
    assert add(store, record("a", edit="first"), record("a", edit=None)) == ["known", "known"]


def test_who_edited_is_known_once_somebody_did(store: EditStore) -> None:
    assert add(store, record("a", edit="to a")) == ["added"]
    assert add(store, record("a", edit="mine", user="ann")) == ["updated"]
    assert add(store, record("a", edit="ours", user="bob")) == ["clash"]
    (found,) = everything(store)
    assert (found.edit, found.user) == ("mine", "ann")


def test_an_id_names_one_row(store: EditStore) -> None:
    assert add(store, record("a"), record("a", response="other")) == ["added", "clash"]
    assert add(store, record("a", context="other"), record("a", user="bob")) == ["clash", "clash"]
    assert everything(store) == [record("a")]


def test_what_was_asked_here_and_exported_is_known_when_it_comes_back(store: EditStore) -> None:
    with store.begin_write() as tx:
        asked = write.StoredCompletion(
            id="c1",
            at=1000.0,
            tenant="default",
            user="ann",
            requested="copydesk",
            policy="p",
            propensity=1.0,
            round=None,
            messages=[{"role": "user", "content": "Hi"}],
            parameters={},
            response="Yes",
            finish_reason="stop",
            usage=None,
        )
        write.append_completion(tx, asked)
        write.append_edit(tx, "e1", "c1", "No", 1.0, "m", at=1001.0)
    (exported,) = everything(store)
    assert add(store, exported) == ["known"]


def test_the_ensemble_does_not_count_what_it_did_not_choose(store: EditStore) -> None:
    add(store, *RECORDS)
    with store.begin_read() as connection:
        assert list(read_events(connection)) == []
    assert verify_log([]).errors == []


texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
names = st.none() | texts.filter(bool)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
messages = st.lists(st.builds(Message, role=texts, content=texts), min_size=1, max_size=3).map(tuple)
records = st.builds(
    EditRecord,
    id=texts.filter(bool),
    context=texts | messages,
    response=texts,
    edit=st.none() | texts,
    user=names,
    policy=names,
    propensity=st.none() | st.floats(1e-6, 1),
    created_at=st.none() | st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    metadata=st.dictionaries(texts, values, max_size=3),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records, max_size=4, unique_by=lambda one: one.id))
def test_any_unicode_goes_in_and_out_again(store: EditStore, rows: list[EditRecord]) -> None:
    with store.begin_write() as tx:
        for table in (tables.edits, tables.completions):
            tx.connection.execute(table.delete())
    outcomes = add(store, *rows)
    assert everything(store) == [one for one, outcome in zip(rows, outcomes, strict=True) if outcome == "added"]
    assert set(outcomes) <= {"added", "repeated"}
