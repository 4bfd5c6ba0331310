"""Users with tastes of their own: policies for some only, and statistics of users and groups."""

import json
import time

import httpx
import pytest
import typer
from tests.support.gateways import Opens, Scripted, app_of, arms_of, ask, running, until
from typer.testing import CliRunner

from copydesk.cli.ensemble import ensemble_app
from copydesk.ensemble import EnsembleConfig, verify_log
from copydesk.gateway import auth
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key
from copydesk.store.events import read_events, read_forget_events
from copydesk.store.users import assign_group

PERSONAL = ("ann-1", "bob-1")


def policies() -> list[Scripted]:
    return [Scripted(name) for name in ("shared", *PERSONAL)]


def gateway(store: EditStore, scope: str = "user"):
    """A gateway that offers `shared`, and opens the personal policies once they are added or in the log."""
    shared, *personal = policies()
    return running(app_of(store, shared, opener=Opens(shared, *personal), ensemble=EnsembleConfig(scope=scope)))


def give(client: httpx.Client, name: str, **audience: str) -> httpx.Response:
    return client.post("/v1/policies", json={"name": name, "spec": f"script:{name}", **audience})


def play(client: httpx.Client, user: str, liked: str, rounds: int) -> list[str]:
    """Ask, accept what the liked policy wrote, rewrite all else; who answered."""
    answered = []
    for _ in range(rounds):
        reply = ask(client, user=user).json()
        edit = {"accepted": True} if reply["model"] == liked else {"edit": "something else altogether"}
        assert client.post("/v1/edits", json={"completion_id": reply["id"], **edit}).status_code == 200
        answered.append(reply["model"])
    return answered


def join(store: EditStore, group: str | None, *users: str) -> None:
    with store.begin_write() as tx:
        assign_group(tx, group, users, "default", at=time.time())


def is_verified(store: EditStore) -> bool:
    with store.begin_read() as connection:
        return verify_log(read_events(connection), read_forget_events(connection)).errors == []


@pytest.mark.slow
def test_each_user_is_served_their_own_policy_in_the_end(store_url: str) -> None:
    """A late ensemble a user, over the shared policy and their own; a restart and `verify` find the same."""
    store = EditStore.open(store_url)
    with gateway(store) as url, httpx.Client(base_url=url, timeout=30) as client:
        for user in ("ann", "bob"):
            assert give(client, f"{user}-1", user=user).json()["added"] is True
        for user, other in (("ann", "bob-1"), ("bob", "ann-1")):
            answered = play(client, user, f"{user}-1", 16)
            assert set(answered) <= {"shared", f"{user}-1"}
            assert answered[-4:] == [f"{user}-1"] * 4
            assert set(arms_of(client, user=user)) == {"shared", f"{user}-1"}
            assert other not in arms_of(client, user=user)
        assert set(play(client, "new", "nothing", 3)) == {"shared"}
        assert {ask(client).json()["model"] for _ in range(3)} == {"shared"}  # names nobody
        stood = [client.get("/v1/ensemble", params={"user": user}).json()["arms"] for user in ("ann", "bob", "new")]
        app = typer.Typer()
        app.add_typer(ensemble_app, name="ensemble")
        checked = CliRunner().invoke(app, ["ensemble", "verify", "--store", store_url, "--url", url, "--json"])
        assert checked.exit_code == 0, checked.output
        assert json.loads(checked.stdout)["live"] is True
    with gateway(store) as url, httpx.Client(base_url=url, timeout=30) as client:
        again = [client.get("/v1/ensemble", params={"user": user}).json()["arms"] for user in ("ann", "bob", "new")]
        assert again == stood
        assert play(client, "bob", "bob-1", 2) == ["bob-1"] * 2
    assert is_verified(store)
    store.close()


def test_a_group_learns_together_and_has_policies_of_its_own(store: EditStore) -> None:
    join(store, "sales", "ann", "bob")
    with gateway(store, "group") as url, httpx.Client(base_url=url, timeout=30) as client:
        give(client, "ann-1", group="sales")
        play(client, "ann", "ann-1", 12)
        assert play(client, "bob", "ann-1", 4) == ["ann-1"] * 4  # bob is new, but his group is not
        assert arms_of(client, user="bob") == arms_of(client, user="ann")
        assert arms_of(client, user="bob")["ann-1"]["audience"] == {"tenant": "default", "group": "sales"}
        assert set(play(client, "eve", "shared", 3)) == {"shared"}
        assert arms_of(client, user="eve")["shared"]["pulls"] == arms_of(client)["shared"]["pulls"]  # everyone's
        join(store, None, "bob")  # a running gateway knows at the next request
        assert set(play(client, "bob", "shared", 3)) == {"shared"}
        assert set(arms_of(client, user="bob")) == {"shared"}
        give(client, "bob-1", user="eve")
        assert "bob-1" in play(client, "eve", "bob-1", 2)  # one's own, where everyone's statistics decide
    assert is_verified(store)


def test_a_policy_for_one_answers_nobody_else_by_name(store: EditStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_KEY_CACHE_SECONDS", 0.0)
    with store.begin_write() as tx:
        keys = {
            scope: {"Authorization": f"Bearer {create_key(tx.connection, 'k', scopes=[scope, 'complete'])[1]}"}
            for scope in ("complete", "admin")
        }
        other = {"Authorization": f"Bearer {create_key(tx.connection, 'k', tenant='other')[1]}"}
    with gateway(store) as url, httpx.Client(base_url=url, timeout=30) as client:
        body = {"name": "ann-1", "spec": "script:ann-1", "user": "ann"}
        assert client.post("/v1/policies", json=body, headers=keys["admin"]).status_code == 201

        def status(headers: dict[str, str], **user: str) -> int:
            asked = {"model": "ann-1", "messages": [{"role": "user", "content": "x"}], **user}
            return client.post("/v1/chat/completions", json=asked, headers=headers).status_code

        def models(headers: dict[str, str], **user: str) -> set[str]:
            return {one["id"] for one in client.get("/v1/models", params=user, headers=headers).json()["data"]}

        assert status(keys["complete"], user="ann") == 200
        assert status(keys["complete"], user="bob") == 404
        assert status(keys["complete"]) == 404
        assert status(keys["admin"]) == 200  # who runs it may try it
        assert status(keys["admin"], user="bob") == 404
        assert status(other, user="ann") == 404  # another ann
        assert models(keys["complete"]) == {"copydesk", "shared"}
        assert models(keys["complete"], user="ann") == {"copydesk", "shared", "ann-1"}
        assert models(other, user="ann") == {"copydesk", "shared"}


def test_the_audience_of_an_arm_is_visible_to_its_tenant(store: EditStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_KEY_CACHE_SECONDS", 0.0)

    def key(tenant: str, *scopes: str) -> dict[str, str]:
        with store.begin_write() as tx:
            return {"Authorization": f"Bearer {create_key(tx.connection, 'k', tenant=tenant, scopes=scopes)[1]}"}

    admin, mine, other = key("acme", "admin", "read"), key("acme", "read"), key("other", "read")
    root = key("other", "admin", "read")
    with gateway(store) as url, httpx.Client(base_url=url, timeout=30) as client:
        body = {"name": "ann-1", "spec": "script:ann-1", "user": "ann"}
        assert client.post("/v1/policies", json=body, headers=admin).status_code == 201
        for headers, seen in [(mine, True), (admin, True), (other, False), (root, False)]:
            arms = {arm["name"]: arm["audience"] for arm in client.get("/v1/ensemble", headers=headers).json()["arms"]}
            assert arms.pop("shared") is None
            assert arms == ({"ann-1": {"tenant": "acme", "user": "ann"}} if seen else {})


def test_an_acknowledgement_has_the_arms_of_the_user_only(serve) -> None:
    shared, *personal = policies()
    client = serve(shared, opener=Opens(shared, *personal))
    give(client, "ann-1", user="ann")
    for user, seen in [("ann", {"shared", "ann-1"}), ("bob", {"shared"})]:
        reply = ask(client, user=user).json()
        done = client.post("/v1/edits", json={"completion_id": reply["id"], "accepted": True}).json()
        assert {arm["name"] for arm in done["ensemble"]["arms"]} == seen


def test_an_audience_cannot_change_and_everyone_keeps_an_arm(serve) -> None:
    shared, *personal = policies()
    client = serve(shared, opener=Opens(shared, *personal))
    assert give(client, "ann-1", user="ann", group="sales").status_code == 400
    assert give(client, "ann-1", user="ann").status_code == 201
    for audience in ({}, {"user": "bob"}, {"group": "ann"}):
        refused = give(client, "ann-1", **audience)
        assert refused.status_code == 400
        assert "is for the user 'ann', which cannot change" in refused.json()["error"]["message"]
    assert give(client, "ann-1", user="ann").json()["added"] is False
    assert client.delete("/v1/policies/shared").status_code == 409
    assert client.delete("/v1/policies/ann-1").status_code == 200
    assert give(client, "ann-1").status_code == 400  # nor later
    assert ask(client, "ann-1", user="ann").status_code == 404


def test_when_all_arms_of_a_user_fail_the_error_is_returned(serve) -> None:
    from copydesk.gateway.backends.base import BackendError

    shared, own, _ = policies()
    shared.script = lambda request: BackendError(502, "it is down", retriable_elsewhere=True)
    client = serve(shared, opener=Opens(shared, own))
    give(client, "ann-1", user="ann")
    refused = ask(client, user="bob")
    assert (refused.status_code, refused.json()["error"]["message"]) == (502, "it is down")
    assert ask(client, user="ann").json()["model"] == "ann-1"  # her own steps in


@pytest.mark.slow
def test_a_second_gateway_keeps_a_policy_for_one_to_them(store: EditStore) -> None:
    with (
        gateway(store) as url,
        gateway(store) as second,
        httpx.Client(base_url=url, timeout=30) as one,
        httpx.Client(base_url=second, timeout=30) as two,
    ):
        give(one, "ann-1", user="ann")
        until(lambda: ask(two, "ann-1", user="ann").status_code == 200)
        assert ask(two, "ann-1", user="bob").status_code == 404
        assert set(play(two, "bob", "shared", 2)) == {"shared"}


def test_the_pages_work_with_audiences(store: EditStore) -> None:
    with gateway(store, "group") as url, httpx.Client(base_url=url, timeout=30) as client:
        give(client, "ann-1", user="ann")
        play(client, "ann", "ann-1", 3)
        write = client.get("/")
        assert write.status_code == 200
        assert "shared" in write.text
        assert "ann-1</option>" not in write.text
        page = client.get("/ensemble")
        assert page.status_code == 200
        assert "Each group&#39;s own" in page.text
