"""Attacks between tenants: what one learns of the policies for the users of another, and what it can do to them."""

import time

import httpx
import pytest
from tests.support.gateways import Opens, Scripted, app_of, ask, running

from copydesk.cli.ensemble import compare_with_gateway
from copydesk.ensemble import EnsembleConfig
from copydesk.ensemble.ledger import Ledger
from copydesk.gateway.backends.base import BackendError
from copydesk.store import EditStore
from copydesk.store.api_keys import API_KEY_SCOPES, create_key
from copydesk.store.events import read_events
from copydesk.store.forget import erase_user
from copydesk.store.users import assign_group

CHAT = {"messages": [{"role": "user", "content": "x"}]}
PERSONAL = ("ann-1", "sales-1")


def make_key(store: EditStore, tenant: str, *scopes: str) -> dict[str, str]:
    with store.begin_write() as tx:
        text = create_key(tx.connection, "k", tenant=tenant, scopes=scopes or API_KEY_SCOPES)[1]
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def tenants(serve, store: EditStore) -> tuple[httpx.Client, dict[str, str], dict[str, str]]:
    """A gateway with a policy for a user and one for a group of acme, which answered; admins of two tenants."""
    acme, other = make_key(store, "acme"), make_key(store, "other")
    with store.begin_write() as tx:
        assign_group(tx, "sales", ["bob"], "acme", at=time.time())
    shares = {"shared": 1.0, "ann-1": 2.0, "sales-1": 3.0}
    ensemble = EnsembleConfig(rule="fixed", shares=shares)
    client = serve(Scripted("shared"), opener=Opens(Scripted("shared")), ensemble=ensemble)
    for name, audience in (("ann-1", {"user": "ann"}), ("sales-1", {"group": "sales"})):
        body = {"name": name, "spec": f"secret-spec-of-{name}", **audience}
        assert client.post("/v1/policies", json=body, headers=acme).status_code == 201
    for model, user in (("ann-1", "ann"), ("sales-1", "bob"), ("copydesk", "ann"), ("copydesk", "bob")):
        answer = client.post("/v1/chat/completions", json={**CHAT, "model": model, "user": user}, headers=acme)
        assert answer.status_code == 200
        edit = {"completion_id": answer.json()["id"], "edit": "x"}
        assert client.post("/v1/edits", json=edit, headers=acme).status_code == 200
    return client, acme, other


@pytest.mark.parametrize(
    "path",
    ["/v1/ensemble", "/v1/ensemble?user=ann", "/v1/ensemble?user=bob", "/v1/models", "/v1/models?user=ann", "/metrics",
     "/v1/edits", "/edits", "/edits?pending=true&policy=shared", "/", "/docs"],
)  # fmt: skip
def test_personal_policies_of_another_tenant_are_named_nowhere(tenants, path: str) -> None:
    client, _, other = tenants
    answer = client.get(path, headers=other)
    assert answer.status_code == 200
    for secret in (*PERSONAL, "secret-spec", "ann", "sales"):
        if f"={secret}" not in path:
            assert secret not in answer.text, secret


def test_their_own_tenant_sees_them(tenants) -> None:
    client, acme, _ = tenants
    arms = {arm["name"]: arm["audience"] for arm in client.get("/v1/ensemble", headers=acme).json()["arms"]}
    assert arms["ann-1"] == {"tenant": "acme", "user": "ann"}
    assert arms["sales-1"] == {"tenant": "acme", "group": "sales"}
    assert all(f"<option>{name}</option>" in client.get("/edits", headers=acme).text for name in PERSONAL)
    assert client.get("/v1/ensemble", headers=acme).json()["settings"]["shares"].keys() == {"shared", *PERSONAL}


def test_metrics_count_all_personal_policies_as_one_and_open_no_text(tenants, store: EditStore) -> None:
    client, _, _ = tenants
    watcher = make_key(store, "acme", "metrics")
    text = client.get("/metrics", headers=watcher).text
    assert not [name for name in PERSONAL if name in text]
    for line in (
        'copydesk_policy_seconds_count{policy="personal"}',
        'copydesk_tokens_total{kind="completion",policy="personal"}',
        'copydesk_edit_cost_count{policy="personal"}',
        'copydesk_arm_pulls{arm="personal"}',
        'copydesk_arm_available{arm="personal"} 1.0',
        'copydesk_arm_pulls{arm="shared"}',
    ):
        assert line in text, line
    for path in ("/v1/edits", "/v1/ensemble", "/v1/models", "/edits", "/ensemble", "/"):
        assert client.get(path, headers=watcher).status_code == 403
    assert (
        client.get("/metrics", headers=make_key(store, "acme", "read", "admin", "complete", "edit")).status_code == 403
    )


def test_failures_of_personal_policies_are_counted_without_their_name(serve, store: EditStore) -> None:
    acme = make_key(store, "acme")
    broken = Scripted("ann-1", lambda request: BackendError(502, "down", retriable_elsewhere=True))
    client = serve(Scripted("shared"), opener=Opens(Scripted("shared"), broken))
    body = {"name": "ann-1", "spec": "script:ann-1", "user": "ann"}
    assert client.post("/v1/policies", json=body, headers=acme).status_code == 201
    failed = client.post("/v1/chat/completions", json={**CHAT, "model": "ann-1", "user": "ann"}, headers=acme)
    assert failed.status_code == 502
    text = client.get("/metrics", headers=acme).text
    assert 'copydesk_policy_failures_total{policy="personal"} 1.0' in text
    assert "ann-1" not in text


def test_an_admin_of_another_tenant_cannot_retire_or_request_them(tenants) -> None:
    client, acme, other = tenants
    unknown = client.delete("/v1/policies/nobody", headers=other)
    for name in PERSONAL:
        refused = client.delete(f"/v1/policies/{name}", headers=other)
        assert (refused.status_code, refused.text.replace(name, "nobody")) == (404, unknown.text)
        for user in ({}, {"user": "ann"}, {"user": "bob"}):
            missing = client.post("/v1/chat/completions", json={**CHAT, "model": "x-1", **user}, headers=other)
            answer = client.post("/v1/chat/completions", json={**CHAT, "model": name, **user}, headers=other)
            assert (answer.status_code, answer.text.replace(name, "x-1")) == (404, missing.text)
        assert client.post("/v1/chat/completions", json={**CHAT, "model": name}, headers=acme).status_code == 200
        assert client.delete(f"/v1/policies/{name}", headers=acme).status_code == 200
        assert client.delete(f"/v1/policies/{name}", headers=other).status_code == 404  # nor once it is retired


def test_a_taken_name_tells_nothing_of_the_policy_that_has_it(tenants) -> None:
    client, acme, other = tenants
    answers = [
        client.post("/v1/policies", json={"name": "ann-1", "spec": spec, **audience}, headers=other)
        for spec in ("else", "secret-spec-of-ann-1")
        for audience in ({}, {"user": "ann"}, {"group": "sales"})
    ]
    assert {answer.status_code for answer in answers} == {400}
    assert {answer.text for answer in answers} == {answers[0].text}
    assert "secret-spec" not in answers[0].text
    shared = client.post("/v1/policies", json={"name": "shared", "spec": "else"}, headers=other)
    assert shared.status_code == 400
    assert "script:shared" not in shared.text
    own = client.post("/v1/policies", json={"name": "ann-1", "spec": "secret-spec-of-ann-1"}, headers=acme)
    assert "is for the user 'ann', which cannot change" in own.json()["error"]["message"]
    assert client.post("/v1/chat/completions", json={**CHAT, "model": "ann-1", "user": "ann"}, headers=acme).is_success


def test_the_policy_of_a_forgotten_user_stays_with_their_tenant(tenants, store: EditStore) -> None:
    client, acme, other = tenants
    with store.begin_write() as tx:
        erase_user(tx, "ann")
    arms = {arm["name"]: arm["audience"] for arm in client.get("/v1/ensemble", headers=acme).json()["arms"]}
    assert arms["ann-1"] == {"tenant": "acme"}
    for path in ("/v1/ensemble", "/metrics", "/edits"):
        assert "ann-1" not in client.get(path, headers=other).text
    assert client.delete("/v1/policies/ann-1", headers=other).status_code == 404
    assert client.delete("/v1/policies/ann-1", headers=acme).status_code == 200


def test_a_key_of_one_user_sees_no_policy_of_another_user(tenants, store: EditStore) -> None:
    client, _, _ = tenants
    with store.begin_write() as tx:
        text = create_key(tx.connection, "k", tenant="acme", scopes=["read", "complete", "edit"], user="bob")[1]
    header = {"Authorization": f"Bearer {text}"}
    for path in ("/v1/ensemble", "/v1/models", "/edits", "/"):
        answer = client.get(path, headers=header)
        assert answer.status_code == 200
        assert "ann" not in answer.text, path
    assert "sales-1" in client.get("/v1/models", headers=header).text


def test_the_log_is_verified_with_the_key_of_any_tenant(tenants, store: EditStore) -> None:
    client, acme, other = tenants
    for header in (acme, other):
        live = client.get("/v1/ensemble", headers=header).json()
        with store.begin_read() as connection:
            rebuilt = Ledger().fold(read_events(connection, until=live["seq"]))
        assert compare_with_gateway(rebuilt, live) == []
        live["arms"] = [arm for arm in live["arms"] if arm["name"] != "shared"]
        assert compare_with_gateway(rebuilt, live) != []


def test_a_second_gateway_names_them_to_nobody_either(tenants, store: EditStore) -> None:
    _, _, other = tenants
    shared = Scripted("shared")
    with running(app_of(store, shared, opener=Opens(shared))) as url, httpx.Client(base_url=url, timeout=30) as second:
        second.headers.update(other)
        assert ask(second).status_code == 200
        for path in ("/v1/ensemble", "/v1/models", "/metrics", "/edits", "/"):
            assert not [name for name in PERSONAL if name in second.get(path).text]
