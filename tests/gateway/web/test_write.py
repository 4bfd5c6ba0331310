"""The page Write, and what it asks a cost of."""

import pytest
from tests.support.gateways import SETTINGS, Scripted, arms_of, ask

from copydesk.data.cost import EditCost
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key


def test_it_offers_the_ensemble_and_every_policy(serve, seen) -> None:
    page = seen(serve(Scripted("b"), Scripted("a")).get("/"))
    assert [option.get("value") for option in page.all("option")] == ["copydesk", None, None]
    assert page.text.index("The ensemble chooses") < page.text.index("a\n") < page.text.index("b\n")
    assert "of at most 3" in page.text
    assert "Changed words, divided by the length of the response." in page.text
    assert page.all("meter")[0]["max"] == "1.0"


def test_without_a_cap_no_maximum_is_shown(serve, seen) -> None:
    settings = SETTINGS.replace(cost=EditCost(unit="character", normalize="none"))
    page = seen(serve(Scripted("a"), config=settings).get("/"))
    assert "of at most" not in page.text
    assert "Changed characters, not divided by any length." in page.text
    assert "hidden" in page.all("meter")[0]


def test_a_cost_is_that_of_the_edit_and_is_not_logged(serve) -> None:
    client = serve(Scripted("a", lambda request: "one two three four"))
    completion_id = ask(client).json()["id"]
    for edit, cost in [("one two three four", 0.0), ("one 2 three four", 0.25), ("", 1.0), ("1 " * 40, 3.0)]:
        answer = client.post("/write/cost", json={"completion_id": completion_id, "edit": edit})
        assert answer.json() == {"cost": cost, "metric": "levenshtein/word/response/cap=3.0"}
    assert arms_of(client)["a"]["observed"] == 0
    assert client.get("/v1/edits").text == ""
    sent = client.post("/v1/edits", json={"completion_id": completion_id, "edit": "one 2 three four"}).json()
    assert sent["cost"] == 0.25


def test_a_cost_is_asked_for_with_json_and_within_limits(serve) -> None:
    client = serve(Scripted("a"))
    body = {"completion_id": ask(client).json()["id"], "edit": "x"}
    form = client.post("/write/cost", data=body)
    plain = client.post(
        "/write/cost", content='{"completion_id": "x", "edit": "y"}', headers={"content-type": "text/plain"}
    )
    long = client.post("/write/cost", json={**body, "edit": "x" * 100_001})
    unknown = client.post("/write/cost", json={**body, "completion_id": "chatcmpl-none"})
    odd = client.post("/write/cost", json={**body, "more": 1})
    nul = client.post("/write/cost", json={**body, "edit": "\x00"})
    answers = [form, plain, long, unknown, odd, nul]
    assert [answer.status_code for answer in answers] == [415, 415, 400, 404, 400, 400]
    assert all("message" in answer.json()["error"] for answer in answers)  # a program asks, even from a page


@pytest.mark.parametrize("unknown", ["other", "gone"])
def test_the_cost_of_another_tenants_completion_is_not_shown(serve, store: EditStore, unknown: str) -> None:
    client = serve(Scripted("a"))
    with store.begin_write() as tx:
        mine = create_key(tx.connection, "mine", tenant="mine")[1]
        theirs = create_key(tx.connection, "theirs", tenant="theirs", scopes=["complete", "edit"])[1]
    client.headers["authorization"] = f"Bearer {mine}"
    completion_id = ask(client).json()["id"] if unknown == "other" else "gone"
    answer = client.post(
        "/write/cost",
        json={"completion_id": completion_id, "edit": "x"},
        headers={"authorization": f"Bearer {theirs}"},
    )
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "completion_not_found"
