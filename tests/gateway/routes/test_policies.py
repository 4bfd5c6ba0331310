"""Adding and retiring policies while the gateway runs, also beside a second gateway."""

import pytest
from tests.support.gateways import Opens, Scripted, app_of, arms_of, ask, until

from copydesk.errors import InputError
from copydesk.gateway.backends.open import BackendOpener
from copydesk.gateway.config import GatewayConfig
from copydesk.store import EditStore


def test_a_policy_joins_and_leaves_while_the_gateway_runs(serve, store: EditStore) -> None:
    first, second = Scripted("a"), Scripted("b")
    client = serve(first, opener=Opens(first, second))
    added = client.post("/v1/policies", json={"name": "b", "spec": "script:b"})
    assert (added.status_code, added.json()["added"]) == (201, True)
    again = client.post("/v1/policies", json={"name": "b", "spec": "script:b"})
    assert (again.status_code, again.json()["added"]) == (201, False)
    assert {ask(client).json()["model"] for _ in range(2)} == {"a", "b"}
    old = ask(client, "a").json()
    pulled = ask(client).json()
    gone = client.delete("/v1/policies/a")
    assert gone.json() == {"object": "copydesk.policy", "name": "a", "retired": True}
    assert first.closed
    assert set(arms_of(client)) == {"b"}
    assert {ask(client).json()["model"] for _ in range(3)} == {"b"}
    assert ask(client, "a").status_code == 404
    for completion in (old, pulled):  # edits of its answers are still taken
        assert client.post("/v1/edits", json={"completion_id": completion["id"], "edit": "x"}).status_code == 200


def test_a_policy_that_is_answering_finishes_before_it_is_closed(serve, store: EditStore) -> None:
    import threading

    slow = Scripted("slow", pause=0.5)
    client = serve(slow, Scripted("b"))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(client, "slow")))
    thread.start()
    until(lambda: slow.asked)
    client.delete("/v1/policies/slow")
    assert not slow.closed
    thread.join()
    assert answers[0].status_code == 200
    until(lambda: slow.closed)


def test_a_name_cannot_be_reused(serve) -> None:
    client = serve(Scripted("a"), Scripted("b"))
    taken = client.post("/v1/policies", json={"name": "a", "spec": "something else"})
    assert taken.status_code == 400
    assert "choose a new name" in taken.json()["error"]["message"]
    client.delete("/v1/policies/a")
    assert client.post("/v1/policies", json={"name": "a", "spec": "something else"}).status_code == 400
    assert client.post("/v1/policies", json={"name": "a", "spec": "script:a"}).json()["added"] is True


def test_the_last_arm_stays(serve) -> None:
    answer = serve(Scripted("a")).delete("/v1/policies/a")
    assert answer.status_code == 409
    assert "only arm" in answer.json()["error"]["message"]


def test_invalid_policies_are_refused(serve, tmp_path) -> None:
    client = serve(Scripted("a"), opener=Picky(Scripted("a")))
    for name, spec, status in [
        ("copydesk", "embedded", 400),
        ("a b", "embedded", 400),
        ("", "embedded", 400),
        ("x", "", 400),
        ("x", str(tmp_path / "nothing"), 400),
    ]:
        answer = client.post("/v1/policies", json={"name": name, "spec": spec})
        assert answer.status_code == status, (name, spec)
    assert set(arms_of(client)) == {"a"}
    assert client.delete("/v1/policies/nobody").status_code == 404


class Picky(Opens):
    """Knows one policy, and loads the others as the gateway does."""

    async def open(self, name, spec):
        if name in self.policies:
            return self.policies[name]
        return await BackendOpener(GatewayConfig()).open(name, spec)


@pytest.mark.slow
def test_a_second_gateway_on_the_store_follows(serve, store: EditStore) -> None:
    """Both choose from one state: what one is told the other knows at its next choice."""
    one, two = serve(Scripted("a"), Scripted("b")), serve(Scripted("a"), Scripted("b"))
    names = [ask(client).json() for client in (one, two, one, two)]
    assert sorted(completion["copydesk"]["round"] for completion in names) == [1, 2, 3, 4]
    assert sorted(completion["model"] for completion in names) == ["a", "a", "b", "b"]
    two.post("/v1/edits", json={"completion_id": names[0]["id"], "edit": "x"})  # given by the other
    assert one.get("/v1/ensemble").json() == two.get("/v1/ensemble").json()
    one.post("/v1/policies", json={"name": "c", "spec": "script:c"})
    until(lambda: "c" in [model["id"] for model in two.get("/v1/models").json()["data"]])
    assert {ask(two).json()["model"], ask(two).json()["model"]} >= {"c"}
    two.delete("/v1/policies/a")
    until(lambda: "a" not in [model["id"] for model in one.get("/v1/models").json()["data"]])


def test_arms_of_the_log_are_opened_at_the_next_start_and_those_that_cannot_be_are_left_out(serve, store) -> None:
    serve(Scripted("a"), Scripted("b"))

    class Lost(Opens):
        async def open(self, name, spec):
            if name == "b":
                raise InputError("its folder is gone")
            return await super().open(name, spec)

    client = serve(opener=Lost(Scripted("a")))
    assert {arm["name"]: arm["status"] for arm in arms_of(client).values()} == {"a": "active", "b": "unavailable"}
    assert {ask(client).json()["model"] for _ in range(3)} == {"a"}


def test_with_no_policy_at_all_it_says_so(serve) -> None:
    client = serve()
    assert client.get("/readyz").json() == {"status": "not ready", "store": True, "policies": False}
    answer = ask(client)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "no_policy"
    assert client.get("/v1/ensemble").json()["arms"] == []
    assert client.get("/metrics").status_code == 200


def test_a_gateway_needs_nothing_but_policies(store: EditStore) -> None:
    from starlette.testclient import TestClient

    with TestClient(app_of(store, Scripted("a")), base_url="http://localhost") as client:
        assert client.get("/healthz").json() == {"status": "ok"}
