"""Signing in to the pages, what a key opens, and errors shown as pages."""

import httpx
import pytest
from tests.support.gateways import Scripted

from copydesk.gateway import auth
from copydesk.gateway.web.auth import sanitize_redirect_path
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key, revoke_key

PAGES = ["/", "/edits", "/ensemble", "/edits/chatcmpl-1"]


@pytest.fixture(autouse=True)
def no_trust(monkeypatch) -> None:
    """Looks every key up anew, so that a test need not wait five seconds."""
    monkeypatch.setattr(auth, "_KEY_CACHE_SECONDS", 0.0)


def key(store: EditStore, *scopes: str, tenant: str = "acme") -> str:
    with store.begin_write() as tx:
        return create_key(tx.connection, "state-key", tenant=tenant, **({"scopes": scopes} if scopes else {}))[1]


def sign_in(client: httpx.Client, text: str, **more: str) -> httpx.Response:
    return client.post("/sign-in", data={"key": text, **more}, headers={"sec-fetch-site": "same-origin"})


def test_an_open_gateway_needs_no_sign_in(serve, seen) -> None:
    client = serve(Scripted("a"))
    for there in PAGES[:3]:
        seen(client.get(there))
    assert client.get("/sign-in?next=/edits").headers["location"] == "/edits"


def test_a_closed_gateway_asks_for_a_key_and_continues_to_the_page(serve, store, seen) -> None:
    client = serve(Scripted("a"))
    text = key(store)
    for there in PAGES:
        answer = client.get(there)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={there}")
    asked = client.get("/edits?q=a%20b&pending=true").headers["location"]
    form = seen(client.get(asked))
    assert form.all("input")[0]["value"] == "/edits?q=a%20b&pending=true"
    assert form.all("input")[2]["type"] == "password"

    done = sign_in(client, f" {text} ", next="/edits?q=a%20b&pending=true")
    assert (done.status_code, done.headers["location"]) == (303, "/edits?q=a%20b&pending=true")
    kept = done.headers["set-cookie"]
    assert kept.startswith(f"copydesk_key={text};")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(kept.split("; "))
    assert "Secure" not in kept  # plain HTTP on this machine
    for there in PAGES[:3]:
        assert "state-key of acme" in seen(client.get(there)).text
    made = client.post("/v1/chat/completions", json={"model": "a", "messages": [{"role": "user", "content": "x"}]})
    assert made.status_code == 200  # the cookie signs in the page's own requests too

    out = client.post("/sign-out", headers={"content-type": "application/x-www-form-urlencoded"})
    assert out.headers["location"] == "/sign-in"
    assert client.get("/edits").status_code == 303


def test_over_https_the_cookie_is_for_https_only(serve, store) -> None:
    client = serve(Scripted("a"))
    text = key(store)
    client.headers["x-forwarded-proto"] = "https"  # as a proxy on this machine says it
    assert "Secure" in sign_in(client, text).headers["set-cookie"]


@pytest.mark.parametrize("text", ["", "wrong", "ck-0123456789ab-" + "x" * 43, "ck\r\nx: y"])
def test_a_wrong_key_is_refused(serve, store, seen, text: str) -> None:
    client = serve(Scripted("a"))
    key(store)
    refused = sign_in(client, text, next="/ensemble")
    assert refused.status_code == 401
    assert "set-cookie" not in refused.headers
    page = seen(refused)
    assert ("Enter a key." if not text else "unknown or was revoked") in page.text
    assert page.all("input")[0]["value"] == "/ensemble"
    assert not text or text not in page.text


def test_a_revoked_key_is_refused(serve, store) -> None:
    client = serve(Scripted("a"))
    text = key(store)
    key(store)
    sign_in(client, text)
    assert client.get("/edits").status_code == 200
    with store.begin_write() as tx:
        revoke_key(tx.connection, text)
    assert client.get("/edits").status_code == 303


def test_other_sites_and_odd_forms_are_refused(serve, store, seen) -> None:
    client = serve(Scripted("a"))
    text = key(store)
    cross = client.post("/sign-in", data={"key": text}, headers={"sec-fetch-site": "cross-site"})
    json = client.post("/sign-in", json={"key": text})
    large = client.post("/sign-in", data={"key": "x" * 5000})
    many = client.post("/sign-in", data={f"k{i}": "x" for i in range(20)})
    binary = client.post("/sign-in", content=b"key=\xff", headers={"content-type": "application/x-www-form-urlencoded"})
    answers = [cross, json, large, many, binary]
    assert [answer.status_code for answer in answers] == [403, 415, 413, 400, 400]
    for answer in answers:
        seen(answer)
        assert "set-cookie" not in answer.headers
    assert client.post("/sign-out", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_a_key_without_the_scope_sees_a_page_that_says_so(serve, store, seen) -> None:
    client = serve(Scripted("a"))
    opens = {"read": ["/edits", "/ensemble"], "complete": [], "edit": []}
    for scope, opened in opens.items():
        client.cookies.clear()
        sign_in(client, key(store, scope))
        for there in ("/", "/edits", "/ensemble"):
            answer = client.get(there)
            assert answer.status_code == (200 if there in opened else 403)
            if there not in opened:
                assert "Your key does not open this" in seen(answer).text
    client.cookies.clear()
    sign_in(client, key(store, "complete", "edit"))
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("path", ["/", "/edits", "/edits?q=a%20b&x=1", "/edits/chatcmpl-9f2c_x", "/docs"])
def test_after_sign_in_a_local_path_is_followed(path: str) -> None:
    assert sanitize_redirect_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "/\n/evil.example", "",
     "javascript:alert(1)", "/edits\r\nset-cookie: x=y", "/sign-in", "/sign-out", "/a//b", "evil.example", "/é"],
)  # fmt: skip
def test_a_redirect_to_another_site_is_replaced(path: str) -> None:
    assert sanitize_redirect_path(path) == "/"


def test_errors_of_pages_are_pages_and_those_of_the_api_are_json(serve, seen) -> None:
    client = serve(Scripted("a"))
    browser = {"accept": "text/html,application/xhtml+xml"}
    for there in ("/nothing", "/docs/x", "/edits/chatcmpl-none"):
        missing = client.get(there, headers=browser)
        assert missing.status_code == 404
        assert "Page not found" in seen(missing).text
    assert client.post("/edits", headers=browser).headers["allow"] == "GET"
    for there in ("/v1/nothing", "/v1/edits?after=x", "/static/nothing.js"):
        answer = client.get(there, headers=browser)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"]
    assert client.post("/chat/completions", json={}).json()["error"]["message"] == "Not Found"  # a program's typo


def test_nothing_of_the_pages_is_in_the_apis_description(serve) -> None:
    paths = serve(Scripted("a")).get("/openapi.json").json()["paths"]
    assert not {"/", "/edits", "/ensemble", "/docs", "/write/cost", "/sign-in", "/sign-out"} & set(paths)
