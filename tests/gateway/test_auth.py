"""Keys, scopes and tenants; and what an open gateway refuses."""

import pytest
from tests.support.gateways import SETTINGS, Scripted, ask

from copydesk.errors import InputError
from copydesk.gateway import auth
from copydesk.gateway.server import check_listen_address
from copydesk.store import EditStore
from copydesk.store.api_keys import API_KEY_SCOPES, create_key, revoke_key


@pytest.fixture(autouse=True)
def no_trust(monkeypatch) -> None:
    """Looks every key up anew, so that a test need not wait five seconds."""
    monkeypatch.setattr(auth, "_KEY_CACHE_SECONDS", 0.0)


def key(store: EditStore, tenant: str = "default", *scopes: str) -> dict[str, str]:
    with store.begin_write() as tx:
        _, text = create_key(tx.connection, "k", tenant=tenant, **({"scopes": scopes} if scopes else {}))
    return {"Authorization": f"Bearer {text}"}


ROUTES = [
    ("complete", "POST", "/v1/chat/completions", {"model": "copydesk", "messages": [{"role": "user", "content": "x"}]}),
    ("complete", "GET", "/v1/models", None),
    ("edit", "POST", "/v1/edits", {"completion_id": "x", "edit": "y"}),
    ("read", "GET", "/v1/edits", None),
    ("read", "GET", "/v1/ensemble", None),
    ("metrics", "GET", "/metrics", None),
    ("admin", "POST", "/v1/policies", {"name": "a", "spec": "script:a"}),
    ("admin", "DELETE", "/v1/policies/a", None),
]


def test_every_route_takes_its_scope_and_no_other(serve, store: EditStore) -> None:
    client = serve(Scripted("a"), Scripted("b"))
    keys = {scope: key(store, "default", scope) for scope in API_KEY_SCOPES}
    for needed, method, path, body in ROUTES:
        nobody = client.request(method, path, json=body)
        assert nobody.status_code == 401, path
        assert nobody.headers["www-authenticate"] == "Bearer"
        assert nobody.json()["error"]["type"] == "authentication_error"
        for scope, header in keys.items():
            status = client.request(method, path, json=body, headers=header).status_code
            assert (status == 403) == (scope != needed), (path, scope)
    assert client.get("/healthz").status_code == 200  # for who watches it
    assert client.get("/readyz").status_code == 200


def test_every_route_of_the_document_is_covered(serve) -> None:
    paths = serve(Scripted("a")).get("/openapi.json").json()["paths"]
    known = {(method, path.replace("/v1/policies/a", "/v1/policies/{name}")) for _, method, path, _ in ROUTES}
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert found == known | {("GET", "/healthz"), ("GET", "/readyz")}


def test_a_tenant_cannot_read_or_edit_the_completions_of_another(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    acme, other = key(store, "acme"), key(store, "other")
    name = ask_with(client, acme)
    posted = client.post("/v1/edits", json={"completion_id": name, "edit": "secret"}, headers=other)
    assert posted.status_code == 404
    assert posted.json() == client.post("/v1/edits", json={"completion_id": name, "edit": "x"}, headers=other).json()
    mine = client.post("/v1/edits", json={"completion_id": name, "edit": "secret"}, headers=acme)
    assert mine.status_code == 200
    assert client.get("/v1/edits", headers=other).text == ""
    assert "secret" in client.get("/v1/edits", headers=acme).text
    after = {"after": mine.json()["id"]}
    assert client.get("/v1/edits", params=after, headers=other).status_code == 404
    assert client.get("/v1/edits", params=after, headers=acme).status_code == 200


def ask_with(client, headers) -> str:
    body = {"model": "copydesk", "user": "ann", "messages": [{"role": "user", "content": "x"}]}
    return client.post("/v1/chat/completions", json=body, headers=headers).json()["id"]


def test_users_of_two_tenants_are_two_users(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    acme, other = key(store, "acme"), key(store, "other")
    ask_with(client, acme)
    pulls = [
        client.get("/v1/ensemble", params={"user": "ann"}, headers=header).json()["arms"][0]["pulls"]
        for header in (acme, other)
    ]
    assert pulls == [1, 0]


def test_a_revoked_key_is_refused(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    header, _ = key(store), key(store)
    assert client.get("/v1/models", headers=header).status_code == 200
    with store.begin_write() as tx:
        revoke_key(tx.connection, header["Authorization"].split()[1])
    refused = client.get("/v1/models", headers=header)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"


def test_an_open_gateway_takes_clients_that_always_send_some_key(serve) -> None:
    client = serve(Scripted("a"))
    assert client.get("/v1/models", headers={"Authorization": "Bearer sk-anything"}).status_code == 200


def test_an_open_gateway_answers_to_this_machines_names_only(serve, store: EditStore) -> None:
    """A page elsewhere may point its own name at 127.0.0.1; its host gives it away."""
    client = serve(Scripted("a"))
    for host, status in [("evil.example", 403), ("evil.example:80", 403), ("localhost:9", 200), ("127.0.0.1", 200)]:
        assert client.get("/v1/models", headers={"Host": host}).status_code == status
    header = key(store)
    assert client.get("/v1/models", headers={"Host": "gateway.example", **header}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_bodies_that_a_page_elsewhere_could_send_unasked_are_refused(serve, kind: str) -> None:
    client = serve(Scripted("a"))
    answer = client.post("/v1/edits", content=b"{}", headers={"content-type": kind})
    assert answer.status_code == 415


def test_bodies_that_are_too_large_are_refused_announced_or_not(serve) -> None:
    client = serve(Scripted("a"), config=SETTINGS.replace(max_body=1000))
    header = {"content-type": "application/json"}
    large = b'{"model": "' + b"x" * 2000 + b'"}'
    assert client.post("/v1/chat/completions", content=large, headers=header).status_code == 413

    def pieces():
        for i in range(0, len(large), 100):
            yield large[i : i + 100]

    unannounced = client.post("/v1/chat/completions", content=pieces(), headers=header)
    assert unannounced.status_code == 413
    assert ask(client).status_code == 200


def test_answers_carry_the_headers_that_keep_browsers_safe(serve) -> None:
    headers = serve(Scripted("a")).get("/v1/models").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_only_configured_origins_may_call_it(serve) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in serve(Scripted("a")).options("/v1/edits", headers=asked).headers
    client = serve(Scripted("a"), config=SETTINGS.replace(cors_origins=("https://app.example",)))
    allowed = client.options("/v1/edits", headers={**asked, "Access-Control-Request-Headers": "content-type"})
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"


def test_it_listens_on_other_addresses_only_with_a_key() -> None:
    for host in ("127.0.0.1", "127.0.0.5", "::1", "localhost"):
        check_listen_address(host, has_key=False)
    for host in ("0.0.0.0", "::", "192.168.1.2", "gateway.example"):
        check_listen_address(host, has_key=True)
        with pytest.raises(InputError, match="copydesk keys create"):
            check_listen_address(host, has_key=False)
