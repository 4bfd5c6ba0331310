"""A forgetting that is killed between its commit and its end is noticed, and the next one completes it."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select, update
from tests.gateway.attacks.test_commands import fill

from copydesk.errors import InputError
from copydesk.store import EditStore, tables
from copydesk.store.api_keys import list_keys
from copydesk.training.forget import check_forgotten, forget_person

KILLED = """
import os, sys
from copydesk.store import EditStore, store
from copydesk.store.transaction import Transaction
from copydesk.training.forget import forget_person
vacuum = store.vacuum_database
def die(*_): os._exit(9)
def die_after(engine):
    vacuum(engine)
    die()
class Dying(store.EditStore):
    def vacuum(self):
        super().vacuum()
        die()
opened = Dying.open(sys.argv[1])
match sys.argv[2]:
    case "before the rewrite": store.vacuum_database = die
    case "after the rewrite": store.vacuum_database = die_after
    case "while that is recorded":
        finish = Transaction.finish
        def stop(self):
            if os.path.exists("rewritten"): die()
            finish(self)
        def rewrite(engine):
            vacuum(engine)
            open("rewritten", "w").close()
        Transaction.finish, store.vacuum_database = stop, rewrite
forget_person(opened, "ann")
"""


@pytest.mark.parametrize(
    ("moment", "finished"),
    [
        ("before the rewrite", False),
        ("after the rewrite", False),
        ("while that is recorded", False),
        ("at the end", True),
    ],
)
def test_an_unfinished_rewrite_is_noticed_and_completed(
    moment: str, finished: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill("copydesk.db")
    killed = subprocess.run([sys.executable, "-c", KILLED, "copydesk.db", moment], env=os.environ, check=False)
    assert killed.returncode == 9
    store = EditStore.open("copydesk.db")
    for user in ("ann", None):
        if finished:
            check_forgotten(store, user)
        else:
            with pytest.raises(InputError, match="erased texts are still in the database's files"):
                check_forgotten(store, user)
    forget_person(store, "ann")
    assert check_forgotten(store, "ann")[0] == 1
    assert not any(b"ann" in file.read_bytes() for file in tmp_path.glob("copydesk.db*"))
    store.close()


def test_erased_rows_are_overwritten_whatever_sqlite_was_built_with(tmp_path: Path) -> None:
    store = EditStore.open(str(tmp_path / "copydesk.db"))
    with store.begin_read() as connection:
        assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
    store.close()


def test_keys_for_a_forgotten_user_are_revoked_and_name_nobody(tmp_path: Path) -> None:
    file = tmp_path / "copydesk.db"
    fill(str(file))
    store = EditStore.open(str(file))
    with store.begin_write() as tx:
        tx.connection.execute(update(tables.keys).values(user="ann", name="ann-laptop"))
        tx.connection.execute(update(tables.pulls).values(key="123456789abc"))
    assert forget_person(store, "ann").erased["keys"] == 1
    with store.begin_read() as connection:
        (key,) = list_keys(connection)
        assert key.revoked_at is not None and key.name == "forgotten"
        assert connection.execute(select(tables.keys.c.user)).scalar() is None
        erased = select(tables.pulls.c.key).where(tables.pulls.c.arm == "")
        assert set(connection.execute(erased).scalars()) == {None}
    store.close()
    with sqlite3.connect(file) as raw:
        assert "ann" not in "\n".join(raw.iterdump())
    raw.close()
