"""The store on SQLite and on PostgreSQL: what is written is there, once, in one order."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from copydesk.data import read_jsonl
from copydesk.errors import InputError
from copydesk.store import EditStore, find_completion, read_edits, search_edits, tables
from copydesk.store import write as append
from copydesk.store.events import ArmPulled, EditRecorded, read_events
from copydesk.store.read import build_context, sequence_of
from copydesk.store.store import DEFAULT_STORE, parse_store_url
from copydesk.store.write import StoredCompletion


def completion(name: str, **changed) -> StoredCompletion:
    fields = {
        "id": name,
        "at": 1000.0,
        "tenant": "default",
        "user": "ann",
        "requested": "copydesk",
        "policy": "sft",
        "propensity": 0.5,
        "round": None,
        "messages": [{"role": "user", "content": f"Write to {name}"}],
        "parameters": {"temperature": 0.7},
        "response": f"Dear {name}",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 3},
    }
    return StoredCompletion(**(fields | changed))


@pytest.fixture
def store(store_url: str):
    opened = EditStore.open(store_url)
    yield opened
    opened.close()


def edit(store: EditStore, name: str, text: str, at: float = 2000.0, cost: float = 0.5) -> append.StoredEdit:
    with store.begin_write() as tx:
        stored, _ = append.append_edit(tx, f"edit-{name}-{at:g}", name, text, cost, "metric", at=at)
    return stored


def log(store: EditStore, *completions: StoredCompletion) -> None:
    with store.begin_write() as tx:
        for one in completions:
            append.append_completion(tx, one)


def test_an_edit_comes_back_as_a_record(store: EditStore, tmp_path: Path) -> None:
    log(store, completion("c1"))
    edit(store, "c1", "Hi c1", at=2000.25)
    with store.begin_read() as connection:
        (found,) = read_edits(connection)
    record = found.record
    assert (record.id, record.context, record.response, record.edit) == ("c1", "Write to c1", "Dear c1", "Hi c1")
    assert (record.user, record.policy, record.propensity) == ("ann", "sft", 0.5)
    assert record.created_at == datetime.fromtimestamp(1000, UTC)
    assert record.metadata["parameters"] == {"temperature": 0.7}
    assert (found.cost, found.metric, found.revision) == (0.5, "metric", 1)
    assert found.edited_at == datetime.fromtimestamp(2000.25, UTC)
    import json

    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps(found.to_json()) + "\n")
    (again,) = read_jsonl(file)
    assert again.model_copy(update={"metadata": {}}) == record.model_copy(update={"metadata": {}})
    assert again.metadata["completion_id"] == "c1"


def test_the_same_edit_changes_nothing_and_another_is_a_revision_that_counts(store: EditStore) -> None:
    log(store, completion("c1"), completion("c2"))
    first = edit(store, "c1", "Hi", at=1.0)
    assert edit(store, "c1", "Hi", at=2.0) == first
    edit(store, "c2", "Yo", at=3.0)
    second = edit(store, "c1", "Hello", at=4.0, cost=0.25)
    assert (first.revision, second.revision) == (1, 2)
    back = edit(store, "c1", "Hi", at=5.0)  # not what counts now: a revision as well
    assert back.revision == 3
    with store.begin_read() as connection:
        assert [row.record.id for row in read_edits(connection)] == ["c2", "c1"]  # by the latest edit
        history = connection.execute(
            select(tables.edits.c.edit, tables.edits.c.cost, tables.edits.c.previous_cost).order_by(tables.edits.c.seq)
        ).all()
        assert [tuple(row) for row in history] == [
            ("Hi", 0.5, None),
            ("Yo", 0.5, None),
            ("Hello", 0.25, 0.5),
            ("Hi", 0.5, 0.25),
        ]
        place = sequence_of(connection, first.id)
        assert [row.record.id for row in read_edits(connection, after=place)] == ["c2", "c1"]
        assert [row.record.id for row in read_edits(connection, after=sequence_of(connection, back.id))] == []
        assert [row.record.id for row in read_edits(connection, limit=1)] == ["c2"]


def test_an_edit_of_nothing_is_refused_and_leaves_nothing(store: EditStore) -> None:
    with pytest.raises(LookupError, match="c9"):
        edit(store, "c9", "Hi")
    with store.begin_read() as connection:
        assert connection.execute(select(tables.clock.c.seq)).scalar_one() == 0


def test_edits_are_chosen_by_tenant_user_and_time(store: EditStore) -> None:
    log(store, completion("c1"), completion("c2", user="bob"), completion("c3", tenant="other"))
    for place, name in enumerate(("c1", "c2", "c3")):
        edit(store, name, "Hi", at=1000.0 * place)

    def ids(**chosen) -> list[str]:
        with store.begin_read() as connection:
            return [row.record.id for row in read_edits(connection, **chosen)]

    assert ids() == ["c1", "c2", "c3"]
    assert ids(tenant="default") == ["c1", "c2"]
    assert ids(tenant="default", user="bob") == ["c2"]
    assert ids(since=datetime.fromtimestamp(1000, UTC)) == ["c2", "c3"]
    assert ids(since=datetime.fromtimestamp(0, UTC) + timedelta(days=1)) == []
    with store.begin_read() as connection:
        assert find_completion(connection, "c3", "default") is None
        assert find_completion(connection, "c3", "other").record.edit == "Hi"
        assert sequence_of(connection, "edit-c3-2000", "default") is None


def test_search_finds_words_anywhere_and_pages_through(store: EditStore) -> None:
    names = [f"c{i}" for i in range(7)]
    log(store, *(completion(name, response="100% of_it" if name == "c3" else f"Dear {name}") for name in names))
    log(store, completion("quote", messages=[{"role": "user", "content": 'Say "Größe" <b>'}], policy="dpo"))
    edit(store, "c5", "Grüße; DROP TABLE edits")

    def ids(**chosen) -> list[str]:
        with store.begin_read() as connection:
            return [row.record.id for row in search_edits(connection, **chosen)[0]]

    assert ids() == ["quote", *reversed(names)]
    assert ids(words="drop table") == ["c5"]
    assert ids(words="100%") == ["c3"]
    assert ids(words="f_i") == ["c3"]
    assert ids(words='"größe"') == ["quote"]
    assert ids(words="nothing") == []
    assert ids(policy="dpo") == ["quote"]
    assert ids(pending=False) == ["c5"]
    assert ids(tenant="other") == []
    with store.begin_read() as connection:
        first, before = search_edits(connection, limit=5)
        rest, end = search_edits(connection, limit=5, before=before)
    assert [row.record.id for row in first + rest] == ["quote", *reversed(names)]
    assert end is None


def test_a_transaction_that_fails_leaves_nothing(store: EditStore) -> None:
    with pytest.raises(RuntimeError), store.begin_write() as tx:
        append.append_completion(tx, completion("c1"))
        raise RuntimeError
    with store.begin_read() as connection:
        assert find_completion(connection, "c1") is None
    log(store, completion("c1"), completion("c1", response="another"))  # as after a commit nobody heard of
    with store.begin_read() as connection:
        assert find_completion(connection, "c1").record.response == "Dear c1"


def test_writers_beside_one_another_give_one_order_without_gaps(store_url: str) -> None:
    """Whoever sees a number sees all below it: several writers, each with a store of its own."""
    seen: list[list[int]] = []

    def write(who: int) -> None:
        own = EditStore.open(store_url)
        for i in range(25):
            with own.begin_write(durable=i % 2 == 0) as tx:
                append.append_failure(tx, f"{who}-{i}", at=0.0, arm="a", round=None, reason="", rest_until=None)
        own.close()

    def watch() -> None:
        own = EditStore.open(store_url)
        while not done.is_set():
            with own.begin_read() as connection:
                seen.append([event.seq for event in read_events(connection)])
        own.close()

    done = threading.Event()
    EditStore.open(store_url).close()
    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    watcher = threading.Thread(target=watch)
    for thread in [*writers, watcher]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    watcher.join()
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen)
    store = EditStore.open(store_url)
    with store.begin_read() as connection:
        assert len(list(read_events(connection))) == 100


def test_events_come_in_order_and_edits_know_their_pull(store: EditStore) -> None:
    with store.begin_write() as tx:
        append.append_config(tx, {"rule": "ucb"}, at=1.0)
        append.append_arm_change(tx, "a", "add", "spec", at=2.0)
        pulled = append.append_pull(
            tx, "c1", at=3.0, round=1, arm="a", propensity=0.25, scope="t/u", turn=1, without=["b"]
        )
        append.append_completion(tx, completion("c1", round=1))
        append.append_completion(tx, completion("direct"))
        _, edited = append.append_edit(tx, "e1", "c1", "Hi", 0.5, "m", at=4.0)
        _, none = append.append_edit(tx, "e2", "direct", "Hi", 0.5, "m", at=5.0)
        failed = append.append_failure(tx, "c2", at=6.0, arm="a", round=None, reason="x", rest_until=9.0)
    assert none is None  # the ensemble had not chosen
    with store.begin_read() as connection:
        events = list(read_events(connection))
        assert [type(event).__name__ for event in events] == [
            "ConfigChanged",
            "ArmChanged",
            "ArmPulled",
            "EditRecorded",
            "PullWithdrawn",
        ]
        assert events[2:] == [pulled, edited, failed]
        assert isinstance(events[2], ArmPulled) and isinstance(events[3], EditRecorded)
        assert list(read_events(connection, after=pulled.seq)) == [edited, failed]
        assert list(read_events(connection, until=pulled.seq)) == events[:3]


def test_contexts_are_texts_or_messages() -> None:
    assert build_context([{"role": "user", "content": "Hi"}]) == "Hi"
    parts = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "here"}]
    assert build_context([{"role": "user", "content": parts}]) == "Look\nhere"
    chat = build_context([{"role": "system", "content": "Be brief"}, {"role": "assistant", "content": None, "x": 1}])
    assert [(turn.role, turn.content) for turn in chat] == [("system", "Be brief"), ("assistant", "")]


class TestErrors:
    @pytest.mark.parametrize(
        ("store", "says"),
        [
            ("", "is empty"),
            ("mysql://host/db", "sqlite:///FILE or postgresql://"),
            ("://", "not a database URL"),
            ("nowhere/copydesk.db", "there is no folder"),
            (
                "postgresql://someone:secret@127.0.0.1:1/db",
                r"\*\*\*@127.0.0.1:1/db: the database server cannot",
            ),
        ],
    )
    def test_a_store_that_cannot_be(self, store: str, says: str, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match=says) as caught:
            EditStore.open(store)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "log.jsonl").write_text("{}\n" * 1000)
        with pytest.raises(InputError, match="not a database"):
            EditStore.open(str(tmp_path / "log.jsonl"))

    def test_a_store_to_be_read_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="there is no such file"):
            EditStore.open(str(tmp_path / "copydesk.db"), create=False)
        assert not (tmp_path / "copydesk.db").exists()

    def test_a_path_is_an_sqlite_file(self) -> None:
        assert str(parse_store_url(DEFAULT_STORE)) == "sqlite:///copydesk.db"


def test_an_edit_is_on_disk_when_it_is_acknowledged(tmp_path: Path) -> None:
    """SQLite waits for the disk where an edit is written, and not for every choice."""
    store = EditStore.open(str(tmp_path / "copydesk.db"))
    levels = {}
    for durable in (True, False):
        with store.begin_write(durable=durable) as tx:
            levels[durable] = tx.connection.execute(text("PRAGMA synchronous")).scalar_one()
            assert tx.connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
    assert levels == {True: 2, False: 1}


def test_postgresql_waits_for_the_disk_where_an_edit_is_written(postgres: str) -> None:
    store = EditStore.open(postgres)
    levels = {}
    for durable in (True, False):
        with store.begin_write(durable=durable) as tx:
            levels[durable] = tx.connection.execute(text("SHOW synchronous_commit")).scalar_one()
    assert levels == {True: "on", False: "off"}


def test_tidying_moves_the_write_ahead_log_into_the_file(tmp_path: Path) -> None:
    """A copy of the file alone then holds everything; before it may hold nothing."""
    file = tmp_path / "copydesk.db"
    store = EditStore.open(str(file))
    log(store, *(completion(f"c{i}") for i in range(50)))

    def copied() -> int:
        copy = tmp_path / "copy.db"
        copy.write_bytes(file.read_bytes())
        with sqlite3.connect(copy) as connection:
            try:
                return connection.execute("SELECT count(*) FROM completions").fetchone()[0]
            except sqlite3.OperationalError:  # not even the table
                return 0

    assert copied() == 0
    store.checkpoint()
    assert copied() == 50
    with store.begin_read() as connection:
        assert len(search_edits(connection, limit=100)[0]) == 50
    store.close()
