"""Forgetting a person: nothing of them stays, everything else does, and the log says what happened."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text, update

from copydesk.data.record import EditRecord
from copydesk.ensemble import verify_log
from copydesk.ensemble.config import EnsembleConfig
from copydesk.ensemble.ledger import Ledger
from copydesk.errors import InputError
from copydesk.gateway import log_commands
from copydesk.store import EditStore, read_edits, tables, write
from copydesk.store.events import read_events, read_forget_events
from copydesk.store.forget import count_user_rows, erase_user, find_forget_entries, verify_forget_chain
from copydesk.store.imports import ImportedRow, append_imported_rows, compute_content_digest
from copydesk.store.users import assign_group
from copydesk.store.write import StoredCompletion

MARK = "zyzzyva"  # stands in everything that is the person's, and nowhere else


def who(user: str) -> str:
    return f"default/{user}"


class Traffic:
    """A store with an ensemble and the rounds of several people."""

    def __init__(self, store: EditStore, **settings) -> None:
        self.store = store
        self.rounds = 0
        with store.begin_write() as tx:
            ledger = Ledger()
            log_commands.set_config(EnsembleConfig(metric="m", **settings))(tx, ledger)
            for arm in ("a", "b", "c"):
                log_commands.add_arm(arm, f"policies/{arm}", None)(tx, ledger)

    def play(self, user: str, *, cost: float | None = 0.5, answered: bool = True) -> str:
        self.rounds += 1
        name = f"c{self.rounds}"
        said = MARK if user == MARK else "words"
        with self.store.begin_write() as tx:
            ledger = Ledger().fold(read_events(tx.connection))
            pull = log_commands.choose_arm(name, who(user), [], [])(tx, ledger)
            if not answered:
                log_commands.record_failure(name, pull.arm, pull.id, f"{said} failed", 0.0)(tx, ledger)
                return name
            done = StoredCompletion(
                id=name,
                at=1000.0 + self.rounds,
                tenant="default",
                user=user,
                requested="copydesk",
                policy=pull.arm,
                propensity=pull.propensity,
                round=pull.id,
                messages=[{"role": "user", "content": f"{said} {name}"}],
                parameters={"note": said},
                response=f"{said} answered {name}",
                finish_reason="stop",
                usage=None,
            )
            write.append_completion(tx, done)
            if cost is not None:
                log_commands.record_edit(name, f"{said} edited {name}", cost, "m", who(user))(tx, ledger)
        return name

    def play_all(self) -> None:
        for i in range(12):
            self.play("bob", cost=0.1 + 0.05 * (i % 4))
            self.play(MARK, cost=0.2 + 0.1 * (i % 5))
            if i % 5 == 0:
                self.play(MARK, cost=None)
                self.play(MARK, answered=False)
            self.play("cy", cost=0.3 + 0.02 * i)

    def ledger(self) -> Ledger:
        with self.store.begin_read() as connection:
            return Ledger().fold(read_events(connection))

    def forget(self) -> None:
        with self.store.begin_write() as tx:
            erase_user(tx, MARK, None, ["sft-1"])
        self.store.vacuum()

    def check(self) -> tuple[int, int]:
        with self.store.begin_read() as connection:
            done = verify_log(read_events(connection), read_forget_events(connection))
        assert done.errors == []
        return done.choices, done.unverifiable


@pytest.fixture
def store(store_url: str):
    opened = EditStore.open(store_url)
    yield opened
    opened.close()


@pytest.fixture(params=["global", "user", "group"])
def traffic(store: EditStore, request) -> Traffic:
    made = Traffic(store, scope=request.param, rule="discounted-ucb", discount=0.9)
    if request.param == "group":
        with store.begin_write() as tx:
            assign_group(tx, "writers", [MARK, "bob"], "default", at=1.0)
    with store.begin_write() as tx:
        ledger = Ledger().fold(read_events(tx.connection))
        log_commands.add_arm("own", "policies/own", who(MARK))(tx, ledger)
    made.play_all()
    return made


def contents(store: EditStore) -> str:
    """Every value of every table as text."""
    with store.begin_read() as connection:
        names = inspect(connection).get_table_names()
        return "\n".join(str(row) for name in names for row in connection.execute(text(f"SELECT * FROM {name}")))


def of_others(store: EditStore) -> list[EditRecord]:
    with store.begin_read() as connection:
        return [row.record for row in read_edits(connection, pending=True) if row.record.user != MARK]


def test_nothing_of_the_person_is_left_and_all_of_the_others_is(traffic: Traffic) -> None:
    before = of_others(traffic.store)
    assert MARK in contents(traffic.store)
    traffic.forget()
    assert MARK not in contents(traffic.store)
    assert of_others(traffic.store) == before
    assert len(before) == 24
    with traffic.store.begin_read() as connection:
        assert count_user_rows(connection, MARK) == {}


def test_the_statistics_are_those_of_the_others(traffic: Traffic) -> None:
    with traffic.store.begin_read() as connection:
        rows = [row for row in read_edits(connection) if row.record.user != MARK]
    traffic.forget()
    arms = traffic.ledger().ensemble.arms
    for name, state in arms.items():
        costs = [row.cost for row in rows if row.record.policy == name]
        assert state.n == len(costs)
        assert state.cost_sum == pytest.approx(sum(costs))
    assert traffic.ledger().ensemble.rounds == traffic.rounds


def test_the_log_can_still_be_verified_and_goes_on(traffic: Traffic) -> None:
    everything, lost = traffic.check()
    assert (everything, lost) == (traffic.rounds, 0)
    traffic.forget()
    choices, lost = traffic.check()
    assert (choices, lost) == (1, 23)  # bob's first came before anything of the person
    for user in ("bob", "cy", "dee", MARK):
        traffic.play(user)
    assert traffic.check() == (5, 23)
    traffic.forget()
    assert MARK not in contents(traffic.store)
    traffic.play("bob")
    assert traffic.check() == (5, 23)


def test_a_choice_that_was_tampered_with_is_still_found_after_forgetting(traffic: Traffic) -> None:
    traffic.forget()
    traffic.play("bob")
    with traffic.store.begin_write() as tx:
        last = tx.connection.execute(select(tables.pulls).order_by(tables.pulls.c.seq.desc())).first()
        other = next(arm for arm in "abc" if arm != last.arm)
        tx.connection.execute(update(tables.pulls).where(tables.pulls.c.seq == last.seq).values(arm=other))
    with traffic.store.begin_read() as connection:
        assert verify_log(read_events(connection), read_forget_events(connection)).errors


def test_an_edit_of_an_erased_answer_does_not_come_back(traffic: Traffic) -> None:
    traffic.forget()
    with traffic.store.begin_write() as tx, pytest.raises(LookupError):
        write.append_edit(tx, "late", "c2", "late", 0.5, "m", at=1.0)


def test_only_one_tenants_user_is_forgotten_where_one_is_named(store: EditStore) -> None:
    for tenant in ("default", "other"):
        record = EditRecord(id=f"{tenant}-1", context="c", response="r", edit=MARK, user="ann")
        with store.begin_write() as tx:
            row = ImportedRow(record, compute_content_digest(record, tenant), 1.0)
            append_imported_rows(tx, [row], "m", tenant, since=0, at=1.0)
            assign_group(tx, "writers", ["ann"], tenant, at=1.0)
    with store.begin_write() as tx:
        entry = erase_user(tx, "ann", "other")
    assert entry.erased == {"completions": 1, "edits": 1, "memberships": 1}
    with store.begin_read() as connection:
        assert [row.tenant for row in read_edits(connection)] == ["default"]
        assert count_user_rows(connection, "ann") == {"completions": 1, "edits": 1, "memberships": 1}


def test_names_that_end_alike_are_not_the_same(store: EditStore) -> None:
    made = Traffic(store, scope="user")
    for user in ("ann", "x/ann", "a%n", "joann"):
        made.play(user)
    with store.begin_write() as tx:
        assert erase_user(tx, "ann").erased == {"completions": 1, "edits": 1, "choices": 1}
        assert erase_user(tx, "a_n").erased == {}
    with store.begin_read() as connection:
        assert sorted(str(row.record.user) for row in read_edits(connection)) == ["a%n", "joann", "x/ann"]


def test_a_group_of_the_same_name_is_not_a_person(store: EditStore) -> None:
    made = Traffic(store, scope="group")
    with store.begin_write() as tx:
        assign_group(tx, "ann", ["bob"], "default", at=1.0)
    made.play("bob")
    with store.begin_write() as tx:
        assert erase_user(tx, "ann").erased == {}
    assert made.ledger().ensemble.scope_states("@default/ann")["a"].n == 1


def test_the_entries_name_nobody_and_are_found_by_who_knows(store: EditStore) -> None:
    with store.begin_write() as tx:
        first = erase_user(tx, MARK, None, ["sft-2", "sft-1"])
        erase_user(tx, "bob", "default")
    assert MARK not in contents(store)
    assert "bob" not in contents(store)
    with store.begin_read() as connection:
        assert find_forget_entries(connection, MARK) == [first]
        assert first.policies == ("sft-1", "sft-2")
        assert find_forget_entries(connection, "cy") == []
        assert find_forget_entries(connection, MARK, "default") == []
        assert len(find_forget_entries(connection, "bob", "default")) == 1
        assert verify_forget_chain(connection) == 2


@pytest.mark.parametrize(
    "tamper",
    [
        update(tables.forgettings).where(tables.forgettings.c.seq == 2).values(erased='{"edits": 1}'),
        update(tables.forgettings).where(tables.forgettings.c.seq == 2).values(at=5.0),
        update(tables.forgettings).where(tables.forgettings.c.seq == 2).values(policies="[]"),
        tables.forgettings.delete().where(tables.forgettings.c.seq == 2),
        tables.forgettings.delete().where(tables.forgettings.c.seq == 1),
    ],
)
def test_a_changed_entry_is_found(tamper, store: EditStore) -> None:
    with store.begin_write() as tx:
        erase_user(tx, "a")
        erase_user(tx, "b", None, ["sft"])
        erase_user(tx, "c")
    with store.begin_read() as connection:
        assert verify_forget_chain(connection) == 3
    with store.begin_write() as tx:
        tx.connection.execute(tamper)
    with store.begin_read() as connection, pytest.raises(InputError, match=r"changed or removed"):
        verify_forget_chain(connection)


def test_the_file_itself_holds_nothing_of_them(tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    store = EditStore.open(str(file))
    made = Traffic(store, scope="user")
    made.play_all()
    files = [file, file.with_name("log.db-wal")]
    assert any(MARK.encode() in one.read_bytes() for one in files if one.exists())
    with store.begin_write() as tx:
        erase_user(tx, MARK)
    store.vacuum()
    assert not any(MARK.encode() in one.read_bytes() for one in tmp_path.iterdir())
    store.close()


def test_a_store_in_use_is_said_and_can_be_scrubbed_later(tmp_path: Path, monkeypatch) -> None:
    from copydesk.store import store as connect

    monkeypatch.setattr(connect, "_LOCK_TIMEOUT_SECONDS", 0.1)
    file = tmp_path / "log.db"
    store = EditStore.open(str(file))
    Traffic(store).play(MARK)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM completions").fetchall()
    with store.begin_write() as tx:
        erase_user(tx, MARK)
    with pytest.raises(InputError, match=r"run the same command again"):
        store.vacuum()
    other.close()
    store.vacuum()
    assert not any(MARK.encode() in one.read_bytes() for one in tmp_path.iterdir())
    store.close()
