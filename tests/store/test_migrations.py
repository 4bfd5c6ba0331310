"""Old databases are brought up to date, and newer ones left alone."""

import json
import threading

import pytest
from sqlalchemy import inspect, text

from copydesk.errors import InputError
from copydesk.store import EditStore, read_edits, tables
from copydesk.store import store as connect
from copydesk.store.events import read_events
from copydesk.store.store import parse_store_url, run_migrations

# Written by hand, as the first version did it; never to be changed.
FIRST = [
    "INSERT INTO arms (seq, at, name, action, spec) VALUES (1, 10.0, 'base', 'add', 'embedded')",
    """INSERT INTO pulls (seq, at, completion_id, round, arm, propensity, turn)
       VALUES (2, 11.0, 'c1', 1, 'base', 1.0, 0)""",
    """INSERT INTO completions
         (seq, at, id, "user", requested, policy, propensity, round, context, parameters, response)
       VALUES
         (3, 11.0, 'c1', 'ann', 'copydesk', 'base', 1.0, 1, '[{"role": "user", "content": "Hi"}]', '{}', 'Yes')""",
    """INSERT INTO edits (seq, at, id, completion_id, revision, edit, cost, metric)
       VALUES (4, 12.0, 'e1', 'c1', 1, 'No', 1.0, 'm')""",
    "UPDATE clock SET seq = 4",
]


def first_version(url: str) -> None:
    engine = connect._create_engine(parse_store_url(url))
    with engine.begin() as connection:
        run_migrations(connection, "0001")
        for statement in FIRST:
            connection.execute(text(statement))
    engine.dispose()


def test_a_database_of_the_first_migration_is_upgraded_with_all_it_holds(store_url: str) -> None:
    first_version(store_url)
    for _ in range(2):  # the second time there is nothing to do
        store = EditStore.open(store_url)
        with store.begin_read() as connection:
            (row,) = read_edits(connection, tenant="default")
            assert (row.record.id, row.record.edit, row.record.user, row.cost) == ("c1", "No", "ann", 1.0)
            assert len(list(read_events(connection))) == 3
        store.close()


def test_the_tables_are_what_the_last_migration_leaves(store_url: str) -> None:
    store = EditStore.open(store_url)
    with store.begin_read() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == {*tables.metadata.tables, "alembic_version"}
        for name, table in tables.metadata.tables.items():
            columns = {column["name"]: column["nullable"] for column in found.get_columns(name)}
            assert columns == {column.name: column.nullable for column in table.columns}
            unique = {tuple(one["column_names"]) for one in found.get_unique_constraints(name)}
            wanted = {
                tuple(column.name for column in constraint.columns)
                for constraint in table.constraints
                if type(constraint).__name__ == "UniqueConstraint"
            }
            assert unique == wanted
            indexes = {
                (tuple(one["column_names"]), bool(one["unique"]))
                for one in found.get_indexes(name)
                if "duplicates_constraint" not in one and not one["name"].startswith("uq_")
            }
            declared = {(tuple(column.name for column in index.columns), bool(index.unique)) for index in table.indexes}
            assert declared <= indexes
    store.close()


def test_a_newer_database_is_left_alone(store_url: str) -> None:
    store = EditStore.open(store_url)
    with store.begin_write() as tx:
        tx.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(InputError, match="newer Copydesk"):
        EditStore.open(store_url)


def test_several_gateways_may_start_at_once(store_url: str) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            EditStore.open(store_url).close()
        except Exception as exc:
            errors.append(exc)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_an_upgrade_that_fails_changes_nothing(store_url: str, monkeypatch) -> None:
    first_version(store_url)
    from alembic import op

    def fail(*args, **kwargs):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(op, "create_index", fail)
        with pytest.raises(RuntimeError):
            EditStore.open(store_url)
    store = EditStore.open(store_url)
    with store.begin_read() as connection:
        assert json.loads(json.dumps([row.record.id for row in read_edits(connection)])) == ["c1"]
