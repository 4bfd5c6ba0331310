"""Policies that are added at once, and policies of other tenants: one wins and is served, and nobody sees another's."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from tests.gateway.web.conftest import look
from tests.support.gateways import Opens, Scripted, app_of, arms_of, ask, running, until

from copydesk.ensemble import EnsembleConfig
from copydesk.gateway import state
from copydesk.store import EditStore
from copydesk.store.api_keys import API_KEY_SCOPES, create_key


class SlowOpens(Opens):
    """Opens a policy of its own for every call, which takes a moment; remembers them."""

    def __init__(self) -> None:
        super().__init__(Scripted("a"))
        self.opened: list[tuple[str, Scripted]] = []

    async def open(self, name: str, spec: str) -> Scripted:
        if name == "a":
            return self.policies["a"]
        await asyncio.sleep(0.1)
        policy = Scripted(name, lambda request: f"answer of {spec}")
        self.opened.append((spec, policy))
        return policy


@pytest.fixture(autouse=True)
def frequent_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_SYNC_INTERVAL", 0.2)


@pytest.fixture
def two_gateways(store_url: str) -> Iterator[tuple[list[httpx.Client], list[SlowOpens]]]:
    with ExitStack() as stack:
        openers = [SlowOpens(), SlowOpens()]
        clients = []
        for opener in openers:
            store = EditStore.open(store_url)
            stack.callback(store.close)
            url = stack.enter_context(running(app_of(store, opener.policies["a"], opener=opener)))
            clients.append(stack.enter_context(httpx.Client(base_url=url, timeout=30)))
        yield clients, openers


def add_at_once(clients: list[httpx.Client], bodies: list[dict[str, str]]) -> list[httpx.Response]:
    barrier = threading.Barrier(len(bodies))

    def add(pair: tuple[httpx.Client, dict[str, str]]) -> httpx.Response:
        barrier.wait()
        return pair[0].post("/v1/policies", json=pair[1])

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(add, zip(clients, bodies, strict=True)))


@pytest.mark.parametrize("gateways", [1, 2])
def test_of_two_policies_of_one_name_exactly_one_is_served(two_gateways, gateways: int) -> None:
    clients, openers = two_gateways
    asked = [clients[i % gateways] for i in range(4)]
    answers = add_at_once(asked, [{"name": "new", "spec": f"spec-{i}"} for i in range(4)])
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400]
    winner = next(i for i, answer in enumerate(answers) if answer.status_code == 201)
    assert ask(asked[winner], "new").status_code == 200  # at once, and it was never closed meanwhile
    assert [policy.closed for spec, policy in openers[winner % gateways].opened if spec == f"spec-{winner}"] == [False]
    for client in clients:
        until(lambda client=client: ask(client, "new").status_code == 200)
        content = ask(client, "new").json()["choices"][0]["message"]["content"]
        assert content == f"answer of spec-{winner}"
        assert arms_of(client)["new"]["status"] == "active"
    for opener in openers:  # of all that were opened only the one that is served is open
        assert sum(not policy.closed for _, policy in opener.opened) == 1


@pytest.mark.parametrize("gateways", [1, 2])
def test_of_two_adds_of_one_policy_one_is_new_and_both_find_it_served(two_gateways, gateways: int) -> None:
    clients, openers = two_gateways
    answers = add_at_once([clients[0], clients[gateways - 1]], [{"name": "new", "spec": "spec"}] * 2)
    assert [answer.status_code for answer in answers] == [201, 201]
    assert sorted(answer.json()["added"] for answer in answers) == [False, True]
    for client in clients:
        until(lambda client=client: ask(client, "new").status_code == 200)
    assert all(sum(not policy.closed for _, policy in opener.opened) == 1 for opener in openers)


def test_an_add_that_is_refused_does_not_hide_the_policy_that_has_the_name(serve) -> None:
    client = serve(Scripted("a"), opener=SlowOpens())
    for body in ({"spec": "other"}, {"spec": "other", "user": "ann"}, {"spec": "script:a", "group": "g"}):
        assert client.post("/v1/policies", json={"name": "a", **body}).status_code == 400
        assert ask(client, "a").status_code == ask(client).status_code == 200
        assert {one["id"] for one in client.get("/v1/models").json()["data"]} == {"copydesk", "a"}


@pytest.mark.parametrize("gateways", [1, 2])
def test_two_adds_for_different_users_do_not_share_the_policy(two_gateways, gateways: int) -> None:
    clients, _ = two_gateways
    asked = [clients[0], clients[gateways - 1]]
    bodies = [{"name": "new", "spec": "spec", "user": user} for user in ("ann", "bob")]
    answers = add_at_once(asked, bodies)
    assert sorted(answer.status_code for answer in answers) == [201, 400]
    winner = [answer.status_code for answer in answers].index(201)
    owner, other = (("ann", "bob"), ("bob", "ann"))[winner]
    assert ask(asked[winner], "new", user=other).status_code == 404
    assert ask(asked[winner], "new", user=owner).status_code == 200
    for client in clients:
        until(lambda client=client: ask(client, "new", user=owner).status_code == 200)
        assert ask(client, "new", user=other).status_code == 404


def test_the_ensemble_page_shows_no_personal_policy_of_another_tenant(serve, store: EditStore) -> None:
    client = serve(Scripted("a"), Scripted("b"), ensemble=EnsembleConfig(scope="user"))
    headers = {}
    with store.begin_write() as tx:
        for tenant in ("default", "acme", "rival"):
            key = create_key(tx.connection, tenant, tenant=tenant, scopes=API_KEY_SCOPES)[1]
            headers[tenant] = {"authorization": f"Bearer {key}"}
    names = {"ann-secret": {"user": "ann"}, "team-secret": {"group": "team"}, "retired-secret": {"user": "ann"}}
    for name, audience in names.items():
        body = {"name": name, "spec": f"script:{name}", **audience}
        assert client.post("/v1/policies", json=body, headers=headers["acme"]).status_code == 201
    for i in range(24):
        body = {"model": "copydesk", "messages": [{"role": "user", "content": "t"}], "user": "ann"}
        answer = client.post("/v1/chat/completions", json=body, headers=headers["acme"]).json()
        edit = {"completion_id": answer["id"], "edit": "" if "secret" not in answer["model"] else f"{i}"}
        assert client.post("/v1/edits", json=edit, headers=headers["acme"]).status_code == 200
    assert client.delete("/v1/policies/retired-secret", headers=headers["acme"]).status_code == 200

    own = client.get("/ensemble", headers=headers["acme"]).text
    for name in ("ann-secret", "retired-secret"):
        assert own.count(name) > 3  # in the table, the plots and the legend
    for _ in range(2):  # whoever looks first, and from the cache
        for tenant in ("default", "rival"):
            response = client.get("/ensemble", headers=headers[tenant])
            assert "secret" not in response.text
            assert "ann" not in look(response).text.replace("another tenant", "")
            assert len([svg for svg in look(response).all("svg") if svg.get("class") == "plot"]) == 3
        assert "ann-secret" in client.get("/ensemble", headers=headers["acme"]).text
