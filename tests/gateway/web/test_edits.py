"""The pages Edits."""

import re

import httpx
from tests.support.gateways import Scripted, app_of, ask, running

from copydesk.data.record import Message
from copydesk.gateway.web.edits import compare_texts, find_last_user_text, split_turns
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key


def links(page) -> list[str]:
    return [str(a["href"]) for a in page.all("a") if str(a["href"]).startswith("/edits/")]


def edited(client, text: str = "hello", edit: str | None = None, **more) -> str:
    """A completion with an edit."""
    completion_id = ask(client, text=text, **more).json()["id"]
    body = {"accepted": True} if edit is None else {"edit": edit}
    assert client.post("/v1/edits", json={"completion_id": completion_id, **body}).status_code == 200
    return completion_id


def test_an_empty_log_says_what_will_be_there(serve, seen) -> None:
    page = seen(serve(Scripted("a")).get("/edits"))
    assert "No edits yet" in page.text
    assert not links(page)


def test_rows_show_the_request_and_the_edit(serve, seen) -> None:
    client = serve(Scripted("a", lambda request: "one two three four"))
    first = edited(client, "number them", "one 2 three four", user="mia")
    second = edited(client, "and again")
    waiting = ask(client, text="nobody came back").json()["id"]
    page = seen(client.get("/edits"))
    assert links(page) == [f"/edits/{second}", f"/edits/{first}"]  # newest first
    for said in ("number them", "one 2 three four", "for mia", "0.25", "accepted unchanged"):
        assert said in page.text
    assert links(seen(client.get("/edits?pending=true"))) == [f"/edits/{one}" for one in (waiting, second, first)]


def test_words_and_policy_narrow_the_search(serve, seen) -> None:
    client = serve(Scripted("a"), Scripted("b"))
    one = edited(client, "The Red fox", model="a")
    two = edited(client, "the blue fox", "a red herring", model="b")
    assert links(seen(client.get("/edits", params={"q": "RED fox"}))) == [f"/edits/{two}", f"/edits/{one}"]
    assert links(seen(client.get("/edits", params={"q": "red fox", "policy": "a"}))) == [f"/edits/{one}"]
    nothing = seen(client.get("/edits", params={"q": "green", "policy": "b"}))
    assert "Nothing found" in nothing.text
    assert "written by b" in nothing.text
    assert nothing.all("input")[0]["value"] == "green"
    assert [option for option in nothing.all("option") if "selected" in option]
    assert client.get("/edits", params={"q": "a\x00b"}).status_code == 200


def test_pages_are_the_same_on_either_database(store_url: str, seen) -> None:
    store = EditStore.open(store_url)
    with running(app_of(store, Scripted("a"), Scripted("b"))) as url, httpx.Client(base_url=url, timeout=30) as client:
        made = [edited(client, f"a fox, 100% '{i}'", "x" * i) for i in range(5)]
        for there in ("/", "/edits", "/ensemble", f"/edits/{made[0]}", f"/edits?before={2**63 - 1}"):
            assert client.get(there).status_code == 200
            seen(client.get(there))
        assert len(links(seen(client.get("/edits", params={"q": "fox 100% 'a\x00"})))) == 0
        assert links(seen(client.get("/edits", params={"q": "FOX '3'\x00"}))) == [f"/edits/{made[3]}"]
        assert client.get("/edits/a%00b").status_code == 404
    store.close()


def test_pages_follow_one_another(serve, seen) -> None:
    client = serve(Scripted("a"))
    made = [edited(client, f"request {i} fox") for i in range(45)]
    found: list[str] = []
    there = "/edits?q=fox"
    for _ in range(3):
        page = seen(client.get(there))
        found += links(page)
        further = [a for a in page.all("a") if a.get("rel") == "next"]
        there = "/edits" + str(further[0]["href"]) if further else ""
    assert there == ""
    assert found == [f"/edits/{one}" for one in reversed(made)]
    assert "Newest" in page.text


def test_one_edit_shows_both_sides(serve, seen) -> None:
    client = serve(Scripted("a", lambda request: "Dear Ann, we met on Monday."))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Write to Ann"}]
    completion_id = client.post(
        "/v1/chat/completions", json={"model": "copydesk", "user": "mia", "messages": messages}
    ).json()["id"]
    for edit in ("Hi Ann", "Hi Ann, we met on Monday."):
        client.post("/v1/edits", json={"completion_id": completion_id, "edit": edit})
    response = client.get(f"/edits/{completion_id}")
    page = seen(response)
    assert "<del>Dear</del> Ann, we met on Monday." in response.text
    assert "<ins>Hi</ins> Ann, we met on Monday." in response.text
    for said in ("Be brief.", "Write to Ann", "with probability 1", "mia", "Revisions", "Changes of revision 1"):
        assert said in page.text
    assert re.search(r"levenshtein/word/response", page.text)
    assert len(page.all("tr")) == 3


def test_a_pending_or_accepted_edit_has_one_side(serve, seen) -> None:
    client = serve(Scripted("a"))
    waiting = ask(client, model="a").json()["id"]
    page = seen(client.get(f"/edits/{waiting}"))
    assert "Not edited yet" in page.text
    assert "requested by name" in page.text
    accepted = seen(client.get(f"/edits/{edited(client)}"))
    assert "Accepted unchanged" in accepted.text
    assert not accepted.all("del") + accepted.all("ins") + accepted.all("table")


def test_everything_is_escaped(serve, seen, evil) -> None:
    client = serve(Scripted("a", lambda request: f"answer {evil}"))
    completion_id = edited(client, f"ask {evil}", f"edit {evil}", user=evil[:200])
    edited_again = client.post("/v1/edits", json={"completion_id": completion_id, "edit": f"again {evil}"})
    assert edited_again.status_code == 200
    for there in (f"/edits/{completion_id}", "/edits", "/edits?pending=true"):
        page = seen(client.get(there))  # finds what an unescaped text would have brought in
        assert not page.all("script") + page.all("img")
    text = seen(client.get(f"/edits/{completion_id}")).text
    assert text.count("{{ 7 * 7 }}") >= 4
    assert text.count("<script>alert('x')</script>") >= 4  # as text
    searched = client.get("/edits", params={"q": evil, "policy": evil})
    page = seen(searched)
    assert page.all("input")[0]["value"] == evil
    assert not page.all("img")
    missing = client.get("/edits/<script>alert(1)</script>")
    assert missing.status_code == 404
    assert not seen(missing).all("script")


def test_everyone_sees_their_tenants_edits_only(serve, store: EditStore, seen) -> None:
    client = serve(Scripted("a"))
    with store.begin_write() as tx:
        keys = [create_key(tx.connection, "k", tenant=tenant)[1] for tenant in ("acme", "other")]
    acme, other = ({"authorization": f"Bearer {key}"} for key in keys)
    client.headers.update(acme)
    completion_id = edited(client, "a secret of acme")
    assert links(seen(client.get("/edits"))) == [f"/edits/{completion_id}"]
    client.headers.update(other)
    assert "secret" not in client.get("/edits?q=secret&pending=true").text.replace('value="secret"', "")
    assert client.get(f"/edits/{completion_id}").status_code == 404
    assert "of other" in seen(client.get("/edits")).text


def test_invalid_queries_are_answered_with_a_page(serve, seen) -> None:
    client = serve(Scripted("a"))
    for query in ("before=x", "before=-1", f"before={2**64}", f"q={'x' * 501}", "pending=perhaps"):
        response = client.get(f"/edits?{query}")
        assert response.status_code == 400
        assert "Error" in seen(response).text


def test_very_long_texts_are_not_compared_word_by_word() -> None:
    assert compare_texts("same", "same") == [("equal", "same")]
    assert compare_texts("a b", "a c") == [("equal", "a "), ("delete", "b"), ("insert", "c")]
    long = "word " * 12_001
    assert compare_texts(long, long + "x") == [("delete", long), ("insert", long + "x")]


def test_a_context_is_shown_by_what_the_user_said_last() -> None:
    chat = tuple(Message(role=role, content=said) for role, said in [("user", "a"), ("user", "b"), ("assistant", "c")])
    assert find_last_user_text("text") == "text"
    assert find_last_user_text(chat) == "b"
    assert find_last_user_text(chat[2:]) == "c"
    assert split_turns(chat)[2] == ("assistant", "c")
