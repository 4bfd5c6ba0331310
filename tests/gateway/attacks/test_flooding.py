"""A client with a valid key sends floods of pulls, edits and revisions: the ensemble learns from a bounded number."""

import json

import httpx
import pytest
from sqlalchemy import select, update
from tests.gateway.web.conftest import EVIL, look
from tests.support.gateways import SETTINGS, Scripted, app_of, arms_of, ask, running, until
from typer.testing import CliRunner

from copydesk.cli.app import app
from copydesk.ensemble import EnsembleConfig, Ledger, verify_log
from copydesk.gateway.web.charts import read_history
from copydesk.offpolicy.traffic import read_traffic
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key
from copydesk.store.events import read_events, read_forget_events
from copydesk.store.forget import erase_user
from copydesk.store.tables import settings

LIMITS = EnsembleConfig(user_limit=3, key_limit=5)


def post_edit(client: httpx.Client, completion_id: str, text: str = "other words") -> httpx.Response:
    return client.post("/v1/edits", json={"completion_id": completion_id, "edit": text})


def make_key(store: EditStore, name: str, tenant: str = "default") -> dict[str, str]:
    with store.begin_write() as tx:
        return {"authorization": f"Bearer {create_key(tx.connection, name, tenant=tenant)[1]}"}


def total(client: httpx.Client, field: str) -> float:
    return sum(arm[field] for arm in arms_of(client).values())


def test_unedited_pulls_of_one_user_beyond_the_limit_do_not_count(serve) -> None:
    client = serve(Scripted("a"), Scripted("b"), ensemble=LIMITS)
    ids = [ask(client, user="eve").json()["id"] for _ in range(10)]
    assert total(client, "pending") == 3
    for _ in range(2):
        ask(client, user="ann")
    ask(client)  # of nobody
    assert total(client, "pending") == 6
    assert post_edit(client, ids[-1]).json()["counted"] is True  # it does once it is edited, within the other limit
    assert (total(client, "pending"), total(client, "observed")) == (6, 1)
    assert {arm["status"] for arm in arms_of(client).values()} == {"active"}  # no cooldown


def test_edits_of_one_user_beyond_the_limit_do_not_count_and_the_answer_says_so(serve, seen_by_all) -> None:
    client = serve(Scripted("a"), Scripted("b"), ensemble=LIMITS)
    ids = [ask(client, user="eve").json()["id"] for _ in range(6)]
    assert [post_edit(client, one).json()["counted"] for one in ids] == [True] * 3 + [False] * 3
    assert (total(client, "observed"), total(client, "pending")) == (3, 0)
    assert post_edit(client, ids[-1]).json()["counted"] is False  # the same edit again
    later = post_edit(client, ids[-1], "a revision of it").json()
    assert (later["revision"], later["counted"]) == (2, False)
    before = {name: arm["cost_sum"] for name, arm in arms_of(client).items()}
    revised = post_edit(client, ids[0], "x " * 50).json()  # nor does a revision of an edit that counted
    assert (revised["counted"], revised["changed"]) == (False, True)
    assert {name: arm["cost_sum"] for name, arm in arms_of(client).items()} == before
    assert post_edit(client, ask(client, user="ann").json()["id"]).json()["counted"] is True
    seen_by_all(client, edits=4)


def test_invented_users_of_one_key_share_its_limit(serve, store: EditStore, seen_by_all) -> None:
    client = serve(Scripted("a"), Scripted("b"), ensemble=LIMITS)
    mine, theirs = make_key(store, "eve"), make_key(store, "ann", "other")
    client.headers.update(mine)
    ids = [ask(client, user=f"invented-{i}").json()["id"] for i in range(9)]
    assert total(client, "pending") == 5
    assert [post_edit(client, one).json()["counted"] for one in ids] == [True] * 5 + [False] * 4
    client.headers.update(theirs)
    assert post_edit(client, ask(client, user="ann").json()["id"]).json()["counted"] is True
    seen_by_all(client, edits=6)


def test_revisions_of_one_answer_are_limited(serve) -> None:
    client = serve(Scripted("a"), config=SETTINGS.replace(max_revisions=4))
    completion_id = ask(client).json()["id"]
    assert [post_edit(client, completion_id, f"edit {i}").status_code for i in range(5)] == [200] * 4 + [409]
    refused = post_edit(client, completion_id, "one more")
    assert refused.json()["error"]["code"] == "too_many_revisions"
    again = post_edit(client, completion_id, "edit 3")  # the latest, which a retry may send
    assert (again.status_code, again.json()["revision"], again.json()["changed"]) == (200, 4, False)


def test_a_flood_does_not_make_a_forgetful_ensemble_forget(serve) -> None:
    client = serve(
        Scripted("a"), Scripted("b"), ensemble=EnsembleConfig(rule="discounted-ucb", discount=0.5, user_limit=3)
    )
    for _ in range(4):
        post_edit(client, ask(client, user="ann").json()["id"])
    for _ in range(3):
        ask(client, user="eve")
    bounds = {name: arm["bound"] for name, arm in arms_of(client).items()}
    for _ in range(40):
        ask(client, user="eve")
    assert {name: arm["bound"] for name, arm in arms_of(client).items()} == bounds


def test_two_gateways_and_a_restart_count_the_same(store_url: str) -> None:
    stores = [EditStore.open(store_url) for _ in range(2)]
    gateways = [running(app_of(one, Scripted("a"), Scripted("b"), ensemble=LIMITS)) for one in stores]
    with gateways[0] as one, gateways[1] as two:
        clients = [httpx.Client(base_url=url, timeout=30) for url in (one, two)]
        ids = [ask(clients[i % 2], user="eve").json()["id"] for i in range(8)]
        assert [total(client, "pending") for client in clients] == [3, 3]
        counted = [post_edit(clients[(i + 1) % 2], name).json()["counted"] for i, name in enumerate(ids)]
        assert counted == [True] * 3 + [False] * 5
        shown = [arms_of(client) for client in clients]
        assert shown[0] == shown[1]
    with running(app_of(stores[0], Scripted("a"), Scripted("b"), ensemble=LIMITS)) as url:
        client = httpx.Client(base_url=url, timeout=30)
        assert arms_of(client) == shown[0]
        assert post_edit(client, ids[-1], "after the restart").json()["counted"] is False
        checked = CliRunner().invoke(app, ["ensemble", "verify", "--store", store_url, "--url", url, "--json"])
        assert checked.exit_code == 0, checked.output
    for opened in stores:
        opened.close()


def test_forgetting_a_user_makes_room_for_others_everywhere(serve, store: EditStore, seen_by_all) -> None:
    client = serve(Scripted("a"), Scripted("b"), ensemble=EnsembleConfig(user_limit=0, key_limit=5))
    client.headers.update(make_key(store, "shared"))
    for user in ["eve"] * 5 + ["ann"]:
        counted = post_edit(client, ask(client, user=user).json()["id"]).json()["counted"]
        assert counted is (user == "eve")
    with store.begin_write() as tx:
        erase_user(tx, "eve")
    seen_by_all(client, edits=1)
    assert post_edit(client, ask(client, user="ann").json()["id"]).json()["counted"] is True
    seen_by_all(client, edits=2)


def test_the_limits_begin_with_the_settings_that_state_them(store: EditStore) -> None:
    """A store of an older Copydesk: what it counted stays, and the gateway logs the limits when it starts."""
    policies = [Scripted("a"), Scripted("b")]
    with running(app_of(store, *policies, ensemble=EnsembleConfig(user_limit=0, key_limit=0))) as url:
        client = httpx.Client(base_url=url)
        for _ in range(6):
            post_edit(client, ask(client, user="eve").json()["id"])
        strip_limits(store)
    with running(app_of(store, *policies, ensemble=LIMITS)) as url:
        client = httpx.Client(base_url=url)
        assert total(client, "observed") == 6
        assert [post_edit(client, ask(client, user="eve").json()["id"]).json()["counted"] for _ in range(4)] == [
            True, True, True, False,
        ]  # fmt: skip


@pytest.mark.parametrize(("tenant", "named"), [("default", True), ("other", False)])
def test_a_user_behind_most_edits_is_shown(serve, store: EditStore, tenant: str, named: bool) -> None:
    client = serve(Scripted("a"))
    headers = make_key(store, "k")
    for user in [EVIL] * 6 + ["ann", "bob", "cid"]:
        post_edit_as(client, headers, user)
    reader = {"headers": make_key(store, "r", tenant)}
    assert client.get("/v1/ensemble", **reader).json()["arms"][0]["majority_user"] is None  # nine edits
    post_edit_as(client, headers, "dan")
    found = client.get("/v1/ensemble", **reader).json()["arms"][0]["majority_user"]
    assert found == {"user": EVIL if named else None, "share": 0.6}
    page = look(client.get("/ensemble", **reader)).text
    assert "60% of the edits that a has learned from" in page
    assert ("one user of another tenant" in page) != named
    assert ("DROP TABLE" in page) == named
    acknowledged = client.post("/v1/edits", json={"completion_id": "x", "edit": "y"}, **reader)
    assert "DROP TABLE" not in acknowledged.text


def test_an_arm_for_one_user_has_no_warning(serve) -> None:
    client = serve(Scripted("a"))
    client.post("/v1/policies", json={"name": "ann-1", "spec": "script:ann-1", "user": "ann"})
    for _ in range(30):
        post_edit(client, ask(client, user="ann").json()["id"])
    arms = arms_of(client)
    assert arms["ann-1"]["observed"] >= 10
    assert (arms["ann-1"]["majority_user"], arms["a"]["majority_user"]) == (None, {"user": "ann", "share": 1.0})


def post_edit_as(client: httpx.Client, headers: dict[str, str], user: str) -> None:
    body = {"model": "copydesk", "messages": [{"role": "user", "content": "t"}], "user": user}
    completion_id = client.post("/v1/chat/completions", json=body, headers=headers).json()["id"]
    answer = client.post("/v1/edits", json={"completion_id": completion_id, "edit": "x"}, headers=headers)
    assert answer.json()["counted"] is True


def strip_limits(store: EditStore) -> None:
    """Make the settings in the log those of an older Copydesk."""
    with store.begin_write() as tx:
        for row in tx.connection.execute(select(settings)).all():
            values = json.loads(row.settings)
            old = {name: value for name, value in values.items() if name not in ("window", "user_limit", "key_limit")}
            tx.connection.execute(update(settings).where(settings.c.seq == row.seq).values(settings=json.dumps(old)))


@pytest.fixture
def seen_by_all(store: EditStore):
    """The log, `verify`, the plots and off-policy evaluation have as many edits as the ensemble."""

    def check(client: httpx.Client, edits: int) -> None:
        until(lambda: total(client, "observed") == edits)
        with store.begin_read() as connection:
            done = verify_log(read_events(connection), read_forget_events(connection))
            ledger = Ledger().fold(read_events(connection))
            history = read_history(connection, ledger.limits.rounds)
            traffic = read_traffic(connection)
        assert done.errors == []
        arms = arms_of(client)
        for name, state in ledger.ensemble.arms.items():
            assert (state.n, state.pending, state.cost_sum) == tuple(
                arms[name][field] for field in ("observed", "pending", "cost_sum")
            )
        assert history.edit_count == len(traffic.rows) == edits
        everything = sum(arm["cost_sum"] for arm in arms.values())
        assert sum(row.cost for row in traffic.rows) == pytest.approx(everything)
        assert history.costs[history.costs >= 0].sum() == pytest.approx(everything)
        assert sum(traffic.pending.values()) == total(client, "pending")

    return check
