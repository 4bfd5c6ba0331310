"""Attacks on API keys: opening a closed gateway, guessing keys and ids, editing the answers of others, other sites."""

import asyncio
import logging
import re
import socket
from collections.abc import Iterator

import httpx
import pytest
from tests.support.gateways import SETTINGS, Scripted, ask

from copydesk.ensemble import EnsembleConfig
from copydesk.errors import InputError
from copydesk.gateway import auth, server
from copydesk.gateway.auth import Authenticator
from copydesk.gateway.config import GatewayConfig
from copydesk.store import EditStore, erase_user, tables
from copydesk.store.api_keys import create_key, revoke_key

UNKNOWN = "ck-0123456789ab-" + "x" * 43
CHAT = {"model": "copydesk", "messages": [{"role": "user", "content": "x"}]}
REQUESTS = [
    ("POST", "/v1/chat/completions", CHAT),
    ("GET", "/v1/models", None),
    ("POST", "/v1/edits", {"completion_id": "x", "edit": "y"}),
    ("GET", "/v1/edits", None),
    ("GET", "/v1/ensemble", None),
    ("GET", "/metrics", None),
    ("POST", "/v1/policies", {"name": "a", "spec": "script:a"}),
    ("DELETE", "/v1/policies/a", None),
    ("POST", "/write/cost", {"completion_id": "x", "edit": "y"}),
]
PAGES = ["/", "/edits", "/ensemble", "/edits/chatcmpl-1"]


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks every key up again, so that a test need not wait five seconds."""
    monkeypatch.setattr(auth, "_KEY_CACHE_SECONDS", 0.0)


def make_key(store: EditStore, **options) -> tuple[str, dict[str, str]]:
    """The id of a new key, and the header with it."""
    with store.begin_write() as tx:
        key, text = create_key(tx.connection, "k", **options)
    return key.id, {"Authorization": f"Bearer {text}"}


def statuses(client: httpx.Client, headers: dict[str, str]) -> set[int]:
    return {client.request(method, path, json=body, headers=headers).status_code for method, path, body in REQUESTS}


@pytest.mark.usefixtures("no_cache")
def test_revoking_the_last_key_does_not_open_the_gateway(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    key_id, header = make_key(store)
    assert client.get("/v1/models", headers=header).status_code == 200
    with store.begin_write() as tx:
        revoke_key(tx.connection, key_id)
    for attempt in (
        {},
        {"Host": "localhost"},
        header,
        {"Authorization": f"Bearer {UNKNOWN}"},
        {"Cookie": "copydesk_key=x"},
    ):
        assert statuses(client, attempt) == {401}, attempt
        assert [client.get(page, headers=attempt).status_code for page in PAGES] == [303] * len(PAGES)
    assert client.get("/sign-in").status_code == 200
    again = serve(Scripted("a"))  # nor does a restart
    assert statuses(again, {}) == {401}


def test_a_new_key_closes_the_gateway_at_once(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    assert client.get("/v1/models").status_code == 200
    make_key(store)
    assert statuses(client, {}) == {401}


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Host", "X-Forwarded-Prefix", "X_Forwarded_For",
        "Forwarded", "Via", "X-Real-IP", "CF-Connecting-IP", "CF-Ray", "CDN-Loop", "True-Client-IP", "X-Client-IP",
        "X-Original-URL",
        "X-Envoy-External-Address", "Fastly-Client-IP", "Fly-Client-IP", "X-Amzn-Trace-Id", "Tailscale-User-Login",
        "X-Cluster-Client-IP", "X-Scheme", "X-ProxyUser-Ip",
    ],
)  # fmt: skip
def test_a_request_through_a_proxy_never_counts_as_local(serve, header: str) -> None:
    client = serve(Scripted("a"))
    assert client.get("/v1/models").status_code == 200
    proxied = {header: "127.0.0.1"}
    assert statuses(client, proxied) == {401}
    assert statuses(client, {**proxied, "Authorization": f"Bearer {UNKNOWN}"}) == {401}
    there = client.get("/edits", headers=proxied).headers["location"]
    assert there == "/sign-in?next=/edits"
    assert client.get(there, headers=proxied).status_code == 200  # a form, not a redirect back


def test_a_listener_that_others_reach_needs_a_key_whatever_the_store_has(serve) -> None:
    client = serve(Scripted("a"), config=SETTINGS.replace(require_key=True))
    assert statuses(client, {"Host": "localhost"}) == {401}


@pytest.mark.parametrize(
    ("peer", "local"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
     ("::ffff:10.0.0.1", False), ("fe80::1", False), ("testclient", False), ("", False), (None, False)],
)  # fmt: skip
def test_only_a_loopback_peer_is_local(store: EditStore, peer: str | None, local: bool) -> None:
    authenticator = Authenticator(store, allowed_hosts=("localhost",))
    client = None if peer is None else (peer, 1)
    scope = {"type": "http", "http_version": "1.1", "client": client, "headers": [(b"host", b"localhost:80")]}
    assert authenticator.is_local(scope) is local
    assert not authenticator.is_local(scope | {"http_version": "1.0"})


@pytest.mark.parametrize(
    "hosts",
    [[], ["localhost."], ["localhost.evil.example"], ["evil.example"], ["localhost:80:80"], ["localhost:x"], [""],
     ["a@localhost"], ["[::1"], ["::1"], ["0.0.0.0"], ["127.0.0.1.nip.io"], ["localhost", "evil.example"],
     ["localhost", "localhost"]],
)  # fmt: skip
def test_other_hosts_are_not_this_machine(store: EditStore, hosts: list[str]) -> None:
    authenticator = Authenticator(store, allowed_hosts=GatewayConfig().allowed_hosts)
    headers = [(b"host", host.encode()) for host in hosts]
    scope = {"type": "http", "http_version": "1.1", "client": ("127.0.0.1", 1), "headers": headers}
    assert not authenticator.is_local(scope)
    for own in (b"localhost", b"LOCALHOST:8040", b"127.0.0.1:1", b"[::1]:8040"):
        assert authenticator.is_local(scope | {"headers": [(b"host", own)]})


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("GET /v1/models HTTP/1.0\r\n", 403),
        ("GET /v1/models HTTP/1.0\r\nHost: localhost\r\n", 401),
        ("GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 403),
        ("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n", 200),
    ],
)
def test_odd_requests_of_old_proxies_are_not_local(serve, lines: str, status: int) -> None:
    url = serve(Scripted("a")).base_url
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(f"{lines}Connection: close\r\n\r\n".encode())
        answer = connection.recv(4096)
    assert int(answer.split()[1]) == status


def test_head_and_options_give_nothing_away(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    make_key(store)
    for method in ("HEAD", "OPTIONS"):
        for path in ("/v1/edits", "/v1/ensemble", "/metrics", "/edits"):
            assert client.request(method, path).status_code == 405


def test_guesses_are_checked_for_form_and_never_push_out_a_real_key(store: EditStore, monkeypatch) -> None:
    monkeypatch.setattr(auth, "_MAX_UNKNOWN_KEYS", 10)
    authenticator = Authenticator(store)
    text = make_key(store)[1]["Authorization"].split()[1]
    looked_up: list[str] = []
    load = authenticator._load_key
    monkeypatch.setattr(authenticator, "_load_key", lambda text: looked_up.append(text) or load(text))

    async def guess() -> None:
        assert await authenticator.find_key(text)
        for malformed in (
            "",
            "x",
            "ck-",
            UNKNOWN[:-1],
            UNKNOWN + "x",
            UNKNOWN + "\n",
            "x" * 100_000,
            "ck-é",
            text + " ",
        ):
            assert await authenticator.find_key(malformed) is None
        assert looked_up == [text]
        for i in range(100):
            assert await authenticator.find_key(f"ck-{i:012x}-" + "x" * 43) is None
        assert len(looked_up) == 101
        assert len(authenticator._unknown_keys) <= 10
        assert await authenticator.find_key(text)
        assert await authenticator.find_key(f"ck-{99:012x}-" + "x" * 43) is None
        assert len(looked_up) == 101  # both were remembered

    asyncio.run(guess())


@pytest.mark.usefixtures("no_cache")
def test_no_key_is_in_the_log_of_the_gateway(serve, store: EditStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "copydesk")
    client = serve(Scripted("a"))
    _, header = make_key(store)
    for presented in (header["Authorization"], f"Bearer {UNKNOWN}"):
        for method, path, body in REQUESTS:
            answer = client.request(method, path, json=body, headers={"Authorization": presented})
            assert presented.split()[1] not in answer.text
    assert "ck-" not in caplog.text


def test_ids_are_random(serve) -> None:
    client = serve(Scripted("a"))
    names = [ask(client).json()["id"] for _ in range(8)]
    posted = [client.post("/v1/edits", json={"completion_id": name, "edit": "x"}).json()["id"] for name in names]
    for ids, prefix in ((names, "chatcmpl-"), (posted, "edit-")):
        assert all(re.fullmatch(prefix + "[0-9a-f]{32}", one) for one in ids)
        for place in range(0, 32, 8):  # no part of it is a clock or a counter
            assert len({one[len(prefix) + place :][:8] for one in ids}) == len(ids)


@pytest.fixture
def answered(serve, store: EditStore) -> tuple[httpx.Client, dict[str, str], dict[str, tuple[str, dict[str, str]]]]:
    """A client, the ids of an answer by the key and user it was given to, and the keys."""
    client = serve(Scripted("a"))
    keys = {name: make_key(store) for name in ("one", "two")}
    keys["other tenant"] = make_key(store, tenant="other")
    answers = {}
    for name, (_, header) in keys.items():
        for user in ("ann", "bob"):
            answers[f"{name} {user}"] = client.post(
                "/v1/chat/completions", json={**CHAT, "user": user}, headers=header
            ).json()["id"]
    return client, answers, keys


def editable(client: httpx.Client, answers: dict[str, str], header: dict[str, str]) -> set[str]:
    """The answers that a key edits; what it does not is as an unknown id, also on the page Write."""
    found = set()
    for name, completion_id in answers.items():
        body = {"completion_id": completion_id, "edit": "x"}
        posts = [client.post(path, json=body, headers=header) for path in ("/write/cost", "/v1/edits")]
        assert len({post.status_code for post in posts}) == 1
        if posts[0].status_code == 200:
            found.add(name)
            continue
        for path, post in zip(("/write/cost", "/v1/edits"), posts, strict=True):
            unknown = client.post(path, json={"completion_id": "chatcmpl-0", "edit": "x"}, headers=header)
            assert (post.status_code, post.text.replace(completion_id, "chatcmpl-0")) == (404, unknown.text)
    return found


@pytest.mark.usefixtures("no_cache")
def test_a_key_edits_only_the_answers_that_are_its_own(answered, store: EditStore) -> None:
    client, answers, keys = answered
    own = {"one ann", "one bob", "two ann", "two bob"}
    one = keys["one"][0]
    for options, expected in [
        ({"scopes": ["edit"]}, set()),
        ({"scopes": ["edit", "read", "admin", "metrics"]}, set()),
        ({"scopes": ["edit"], "answers_of": one}, {"one ann", "one bob"}),
        ({"scopes": ["edit"], "user": "ann"}, {"one ann", "two ann"}),
        ({"scopes": ["edit", "complete"], "user": "bob"}, {"one bob", "two bob"}),
        ({"scopes": ["edit"], "user": "nobody"}, set()),
        ({"scopes": ["edit", "complete"]}, own),
        ({"scopes": ["edit", "complete"], "tenant": "other"}, {"other tenant ann", "other tenant bob"}),
        ({"scopes": ["edit"], "tenant": "third"}, set()),
    ]:
        assert editable(client, answers, make_key(store, **options)[1]) == expected, options
    editing = make_key(store, scopes=["edit"], answers_of=one)[1]
    with store.begin_write() as tx:
        revoke_key(tx.connection, one)
    assert client.get("/v1/models", headers=keys["one"][1]).status_code == 401
    assert editable(client, answers, editing) == {"one ann", "one bob"}  # late edits still arrive


def test_the_key_of_each_request_and_edit_is_stored(answered, store: EditStore) -> None:
    client, answers, keys = answered
    key_id, header = make_key(store)
    assert editable(client, {"one ann": answers["one ann"]}, header) == {"one ann"}
    with store.begin_read() as connection:
        given = {row.id: row.key for row in connection.execute(tables.completions.select())}
        edits = [row.key for row in connection.execute(tables.edits.select())]
    assert given[answers["one ann"]] == keys["one"][0]
    assert given[answers["two bob"]] == keys["two"][0]
    assert edits == [key_id]


def test_a_key_of_one_user_reads_and_asks_as_that_user_only(answered, store: EditStore) -> None:
    client, answers, _ = answered
    _, all_users = make_key(store)
    for name in ("one ann", "one bob"):
        body = {"completion_id": answers[name], "edit": f"edit of {name}"}
        assert client.post("/v1/edits", json=body, headers=all_users).status_code == 200
    _, header = make_key(store, scopes=["read", "complete", "edit"], user="ann")
    for refused in (
        client.post("/v1/chat/completions", json={**CHAT, "user": "bob"}, headers=header),
        client.get("/v1/edits?user=bob", headers=header),
        client.get("/v1/ensemble?user=bob", headers=header),
        client.get("/v1/models?user=bob", headers=header),
    ):
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "wrong_user")
    assert client.post("/v1/chat/completions", json={**CHAT, "user": "ann"}, headers=header).status_code == 200
    unnamed = client.post("/v1/chat/completions", json=CHAT, headers=header).json()["id"]
    assert editable(client, {"unnamed": unnamed}, header) == {"unnamed"}  # it is ann's
    rows = [line for line in client.get("/v1/edits", headers=header).text.splitlines() if answers["one bob"] in line]
    assert rows == []
    assert answers["one ann"] in client.get("/v1/edits", headers=header).text
    bobs = client.get("/v1/edits?user=bob", headers=all_users).json()["edit_id"]
    assert client.get("/v1/edits", params={"after": bobs}, headers=header).status_code == 404
    page = client.get("/edits?pending=true", headers=header).text
    assert answers["one ann"] in page
    assert "bob" not in page
    assert client.get(f"/edits/{answers['one ann']}", headers=header).status_code == 200
    assert client.get(f"/edits/{answers['one bob']}", headers=header).status_code == 404


def test_a_key_whose_user_was_forgotten_opens_nothing(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    _, header = make_key(store, scopes=["read", "complete", "edit"], user="ann")
    with store.begin_write() as tx:
        erase_user(tx, "ann")
    assert client.get("/v1/edits", headers=header).status_code == 401
    assert client.post("/v1/chat/completions", json=CHAT, headers=header).status_code == 401


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"user": "ann", "scopes": ["edit", "admin"]}, "--user"),
        ({"user": "", "scopes": ["edit"]}, "--user"),
        ({"user": "a\x1b[2J", "scopes": ["edit"]}, "--user"),
        ({"answers_of": "0123456789ab", "scopes": ["edit"]}, "no active key"),
        ({"answers_of": "one", "scopes": ["edit", "complete"]}, "without the scope complete"),
        ({"answers_of": "one", "scopes": ["read"]}, "scope edit"),
        ({"answers_of": "one", "scopes": ["edit"], "user": "ann"}, "give one"),
        ({"answers_of": "one", "scopes": ["edit"], "tenant": "other"}, "no active key"),
        ({"answers_of": "revoked", "scopes": ["edit"]}, "no active key"),
        ({"answers_of": "edit only", "scopes": ["edit"]}, "lacks the scope complete"),
    ],
)
def test_keys_that_contradict_themselves_are_refused(store: EditStore, options, message: str) -> None:
    ids = {"one": make_key(store)[0], "revoked": make_key(store)[0], "edit only": make_key(store, scopes=["edit"])[0]}
    with store.begin_write() as tx:
        revoke_key(tx.connection, ids["revoked"])
    if "answers_of" in options:
        options = options | {"answers_of": ids.get(options["answers_of"], options["answers_of"])}
    with pytest.raises(InputError, match=message):
        make_key(store, **options)


def foreign_origins(client: httpx.Client) -> Iterator[str]:
    port = client.base_url.port
    yield from ("null", "https://evil.example", "http://localhost:1", f"http://127.0.0.1:{port}.evil.example")
    yield from (f"http://a@127.0.0.1:{port}", f"//127.0.0.1:{port}", f"ftp://127.0.0.1:{port}", "http://127.0.0.1", "")


def test_other_sites_cannot_sign_in_or_use_the_cookie(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    text = make_key(store)[1]["Authorization"].split()[1]
    own = str(client.base_url).rstrip("/")
    for origin in foreign_origins(client):
        for path in ("/sign-in", "/sign-out"):
            refused = client.post(path, data={"key": text}, headers={"Origin": origin})
            assert refused.status_code == 403, origin
            assert "set-cookie" not in refused.headers
    for origin in (own, own.replace("http:", "https:")):  # a proxy in front adds TLS
        assert client.post("/sign-in", data={"key": text}, headers={"Origin": origin}).status_code == 303
    completion_id = client.post("/v1/chat/completions", json=CHAT, headers={"Origin": own}).json()["id"]
    edit = {"completion_id": completion_id, "edit": "x"}
    unsafe = [*REQUESTS, ("POST", "/v1/edits", edit), ("POST", "/write/cost", edit)]
    for origin in foreign_origins(client):
        for method, path, body in unsafe:
            if method != "GET":
                refused = client.request(method, path, json=body, headers={"Origin": origin})
                assert (refused.status_code, refused.json()["error"]["code"]) == (403, "cross_origin"), (origin, path)
    two = [("Origin", own), ("Origin", "https://evil.example"), ("content-type", "application/json")]
    assert client.post("/v1/edits", json=edit, headers=two).status_code == 403
    assert client.post("/v1/edits", json=edit, headers={"Origin": own}).status_code == 200
    client.cookies.clear()
    bearer = {"Authorization": f"Bearer {text}", "Origin": "https://app.example"}
    assert client.post("/v1/edits", json=edit, headers=bearer).status_code == 200  # no site can make a browser add it


def test_other_sites_cannot_use_an_open_gateway_unless_it_lists_them(serve) -> None:
    edit = {"completion_id": "x", "edit": "y"}
    listed = {"Origin": "https://app.example"}
    assert serve(Scripted("a")).post("/v1/edits", json=edit, headers=listed).status_code == 403
    client = serve(Scripted("a"), config=SETTINGS.replace(cors_origins=("https://app.example",)))
    assert client.post("/v1/edits", json=edit, headers=listed).status_code == 404


def test_pages_let_browsers_send_their_origin(serve) -> None:
    """With `no-referrer` a browser sends `Origin: null` with the form of the sign-in page itself."""
    assert serve(Scripted("a")).get("/docs").headers["referrer-policy"] == "same-origin"


def start(store: EditStore, host: str, monkeypatch: pytest.MonkeyPatch) -> GatewayConfig:
    """The settings with which a gateway on this address would run."""
    found: list[GatewayConfig] = []

    async def run(store, arms, config, *more) -> None:
        found.append(config)

    monkeypatch.setattr(server, "_run_server", run)
    ready = lambda url, names: None  # noqa: E731
    server.serve(store, {}, GatewayConfig(), EnsembleConfig(), host=host, port=0, on_ready=ready)
    return found[0]


def test_a_store_whose_keys_are_revoked_is_served_on_this_machine_only(
    store: EditStore, monkeypatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert start(store, "127.0.0.1", monkeypatch).require_key is False
    assert "revoked" not in caplog.text
    key_id, _ = make_key(store)
    assert start(store, "0.0.0.0", monkeypatch).require_key is True
    assert "revoked" not in caplog.text
    with store.begin_write() as tx:
        revoke_key(tx.connection, key_id)
    start(store, "127.0.0.1", monkeypatch)
    assert "every request needs an API key, and all keys" in caplog.text
    with pytest.raises(InputError, match="no API key is active"):
        start(store, "0.0.0.0", monkeypatch)
