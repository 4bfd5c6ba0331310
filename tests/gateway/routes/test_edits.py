"""Edits: their cost, that they are taken once, and the log they make."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.support.gateways import SETTINGS, Scripted, arms_of, ask

from copydesk.data import load_log
from copydesk.data.cost import EditCost
from copydesk.ensemble import EnsembleConfig
from copydesk.store import EditStore, tables

HOSTILE = [
    "'; DROP TABLE edits; --",
    '" OR 1=1',
    "<script>alert(1)</script>",
    "{{7*7}}",
    "%s%n",
    "\\u0000",
    "a\r\nb: c",
    "𝕏🙂é",
]


def post(client, completion_id: str, **what):
    return client.post("/v1/edits", json={"completion_id": completion_id, **what})


def test_an_edit_is_costed_counted_and_answered(serve) -> None:
    client = serve(Scripted("a", lambda request: "one two three four"))
    completion = ask(client).json()
    done = post(client, completion["id"], edit="one two 3 four").json()
    cost = EditCost(unit="word", cap=3.0)
    assert done["cost"] == cost("one two three four", "one two 3 four") == 0.25
    assert done["metric"] == cost.name
    assert (done["revision"], done["changed"], done["counted"]) == (1, True, True)
    assert done["completion_id"] == completion["id"]
    (arm,) = done["ensemble"]["arms"]
    assert (arm["name"], arm["pulls"], arm["pending"], arm["mean_cost"]) == ("a", 1, 0, 0.25)
    assert arm == {key: arms_of(client)["a"][key] for key in arm}


def test_the_same_edit_again_changes_nothing_a_different_one_is_a_revision(serve, store: EditStore) -> None:
    client = serve(Scripted("a", lambda request: "one two"))
    name = ask(client).json()["id"]
    first = post(client, name, edit="one 2").json()
    again = post(client, name, edit="one 2").json()
    assert again == first | {"changed": False}
    second = post(client, name, accepted=True).json()
    assert (second["revision"], second["cost"], second["changed"]) == (2, 0.0, True)
    arm = arms_of(client)["a"]
    assert (arm["pulls"], arm["observed"], arm["mean_cost"]) == (1, 1, 0.0)
    with store.begin_read() as connection:
        history = connection.execute(select(tables.edits.c.edit).order_by(tables.edits.c.seq)).scalars().all()
    assert history == ["one 2", "one two"]


def test_accepting_is_an_edit_to_the_answer_itself(serve) -> None:
    client = serve(Scripted("a", lambda request: "one two"))
    name = ask(client).json()["id"]
    assert post(client, name, accepted=True).json()["cost"] == 0.0
    assert post(client, name, edit="one two").json()["changed"] is False


def test_an_edit_that_comes_after_a_restart_finds_its_answer(serve, store: EditStore) -> None:
    name = ask(serve(Scripted("a", lambda request: "one two"))).json()["id"]
    client = serve(Scripted("a"))
    assert post(client, name, edit="one 2").json()["cost"] == 0.5
    assert arms_of(client)["a"]["observed"] == 1


def test_an_edit_after_its_pull_expired_counts_all_the_same(serve, store: EditStore) -> None:
    import time

    client = serve(Scripted("a"), ensemble=EnsembleConfig(expiry=0.2))
    name = ask(client).json()["id"]
    time.sleep(0.3)
    ask(client)
    assert arms_of(client)["a"]["pulls"] == 1  # the first is given up
    assert post(client, name, edit="x").json()["counted"]
    assert arms_of(client)["a"]["pulls"] == 2


def test_the_log_is_json_lines_that_training_reads(serve, tmp_path: Path) -> None:
    client = serve(Scripted("a"))
    names = [ask(client, text=f"text {i}", user="ann" if i % 2 else "bob").json()["id"] for i in range(5)]
    for i, name in enumerate(names[:4]):
        post(client, name, edit=f"edit {i}")
    answer = client.get("/v1/edits")
    assert answer.headers["content-type"].startswith("application/jsonl")
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert [row["completion_id"] for row in rows] == names[:4]  # the fifth is pending
    assert rows[0]["id"] == rows[0]["completion_id"]
    assert (rows[0]["context"], rows[0]["edit"], rows[0]["policy"]) == ("text 0", "edit 0", "a")
    assert rows[0]["cost"] > 0
    (tmp_path / "log.jsonl").write_text(answer.text)
    assert [record.edit for record in load_log(tmp_path / "log.jsonl")] == [f"edit {i}" for i in range(4)]

    pages, after = [], None
    while True:
        page = client.get("/v1/edits", params={"limit": 3} | ({} if after is None else {"after": after})).text
        found = [json.loads(line) for line in page.splitlines()]
        if not found:
            break
        pages.append([row["completion_id"] for row in found])
        after = found[-1]["edit_id"]
    assert pages == [names[:3], names[3:4]]
    post(client, names[0], edit="again")  # who reads on sees it again
    rest = [json.loads(line) for line in client.get("/v1/edits", params={"after": after}).text.splitlines()]
    assert [(row["completion_id"], row["edit_revision"]) for row in rest] == [(names[0], 2)]
    bobs = [json.loads(line)["user"] for line in client.get("/v1/edits", params={"user": "bob"}).text.splitlines()]
    assert bobs == ["bob"] * 2


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": "many"}, {"after": ""}, {"user": ""}])
def test_invalid_pages_of_the_log_are_refused(serve, query) -> None:
    answer = serve(Scripted("a")).get("/v1/edits", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in query


def test_reading_after_an_unknown_edit_is_refused(serve) -> None:
    assert serve(Scripted("a")).get("/v1/edits", params={"after": "edit-x"}).status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    [
        {},
        {"edit": "x", "accepted": True},
        {"accepted": False},
        {"edit": None},
        {"edit": 1},
        {"edit": "a\x00b"},
        {"edit": "x" * 100_001},
        {"edit": "x", "extra": 1},
        {"edit": "x", "completion_id": ""},
        {"edit": "x", "completion_id": 7},
    ],
)
def test_invalid_edits_change_nothing(serve, what) -> None:
    client = serve(Scripted("a"))
    name = ask(client).json()["id"]
    answer = client.post("/v1/edits", json={"completion_id": name, **what})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert arms_of(client)["a"]["pending"] == 1


def test_an_edit_of_an_unknown_answer_is_refused(serve) -> None:
    answer = post(serve(Scripted("a")), "chatcmpl-nothing", edit="x")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "completion_not_found"


@pytest.mark.parametrize("text", HOSTILE)
def test_untrusted_text_goes_in_and_comes_out_as_it_is(serve, text: str) -> None:
    client = serve(Scripted("a", lambda request: text))
    name = ask(client, text=text, user=text).json()["id"]
    post(client, name, edit=text + text)
    (row,) = (json.loads(line) for line in client.get("/v1/edits", params={"user": text}).text.splitlines())
    assert (row["context"], row["response"], row["edit"], row["user"]) == (text, text, text + text, text)
    assert client.get("/v1/ensemble", params={"user": text}).status_code == 200


def test_costs_of_two_metrics_are_not_mixed(serve, store: EditStore) -> None:
    from copydesk.errors import InputError

    client = serve(Scripted("a"))
    post(client, ask(client).json()["id"], edit="x")
    from starlette.testclient import TestClient
    from tests.support.gateways import app_of

    other = app_of(store, Scripted("a"), config=SETTINGS.replace(cost=EditCost(unit="character")))
    with pytest.raises(InputError, match="not levenshtein/character"), TestClient(other):
        pass
