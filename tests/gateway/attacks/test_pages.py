"""Every page opens in every state of the store, whatever the store holds."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import update
from tests.gateway.web.conftest import EVIL, look
from tests.support.gateways import Opens, Scripted, ask

from copydesk.data.record import EditRecord, Message
from copydesk.gateway import web
from copydesk.store import EditStore, forget, tables
from copydesk.store.imports import ImportedRow, append_imported_rows, compute_content_digest
from copydesk.store.read import read_edits
from copydesk.store.users import assign_group

State = Callable[[httpx.Client, EditStore], None]


def edit(client: httpx.Client, completion_id: str, text: str = "other words") -> None:
    assert client.post("/v1/edits", json={"completion_id": completion_id, "edit": text}).status_code == 200


def pull(client: httpx.Client, number: int = 1, **more: str) -> list[str]:
    return [ask(client, text=f"t{i}", **more).json()["id"] for i in range(number)]


def give(client: httpx.Client, name: str, **audience: str) -> None:
    body = {"name": name, "spec": f"script:{name}", **audience}
    assert client.post("/v1/policies", json=body).status_code == 201


def import_rows(store: EditStore, *records: EditRecord, cost: float = 0.5) -> None:
    rows = [
        ImportedRow(one, compute_content_digest(one, "default"), None if one.edit is None else cost) for one in records
    ]
    with store.begin_write() as tx:
        append_imported_rows(tx, rows, "metric", "default", since=tx.seq, at=time.time())


def nothing(client: httpx.Client, store: EditStore) -> None:
    pass


def one_pull(client: httpx.Client, store: EditStore) -> None:
    pull(client)


def two_pulls(client: httpx.Client, store: EditStore) -> None:
    pull(client, 2)


def two_pulls_and_one_edit(client: httpx.Client, store: EditStore) -> None:
    edit(client, pull(client, 2)[0])


def one_edit(client: httpx.Client, store: EditStore) -> None:
    edit(client, pull(client)[0])


def many_edits(client: httpx.Client, store: EditStore) -> None:
    for i, completion_id in enumerate(pull(client, 12, user="ann")):
        edit(client, completion_id, "word " * i)
        edit(client, completion_id, "other " * i)


def imported(client: httpx.Client, store: EditStore) -> None:
    import_rows(
        store,
        EditRecord(id="bare", context="c", response="r", edit="e"),
        EditRecord(id="pending", context="c2", response="r", edit=None),
        EditRecord(id="chat", context=(Message(role="assistant", content="x"),), response="r", edit="r", policy="a"),
        EditRecord(id="rich", context="c3", response="r", edit="e", user="ann", policy="unknown", propensity=0.5,
                   created_at=datetime(2020, 1, 1, tzinfo=UTC), metadata={"requested": None, "finish_reason": 7}),
    )  # fmt: skip
    import_rows(store, EditRecord(id="bare", context="c", response="r", edit="again"))


def nothing_to_edit(client: httpx.Client, store: EditStore) -> None:
    import_rows(store, EditRecord(id="empty", context="", response="", edit=""))


def pending_only(client: httpx.Client, store: EditStore) -> None:
    pull(client, 5, user="ann")


def retired(client: httpx.Client, store: EditStore) -> None:
    for completion_id in pull(client, 6):
        edit(client, completion_id)
    give(client, "new")
    for name in ("a", "b"):
        assert client.delete(f"/v1/policies/{name}").status_code == 200


def personal(client: httpx.Client, store: EditStore) -> None:
    give(client, "ann-1", user="ann")
    give(client, "team-1", group="team")
    with store.begin_write() as tx:
        assign_group(tx, "team", ["ann"], "default", at=time.time())
    for completion_id in pull(client, 8, user="ann"):
        edit(client, completion_id)
    client.delete("/v1/policies/ann-1")


def forgotten(client: httpx.Client, store: EditStore) -> None:
    personal(client, store)
    pull(client, 3)
    with store.begin_write() as tx:
        forget.erase_user(tx, "ann")


def forgotten_all(client: httpx.Client, store: EditStore) -> None:
    many_edits(client, store)
    with store.begin_write() as tx:
        forget.erase_user(tx, "ann")


def failures_only(client: httpx.Client, store: EditStore) -> None:
    now = time.time()
    with store.begin_write() as tx:
        tx.append(tables.withdrawals, at=now, completion_id="x", arm="a", round=None, reason=EVIL, rest_until=now + 60)
        tx.append(tables.withdrawals, at=now, completion_id="x", arm="b", round=None, reason=EVIL, rest_until=1e300)


def huge_numbers(client: httpx.Client, store: EditStore) -> None:
    ids = pull(client, 6, user="u" * 256)
    for completion_id in ids:
        edit(client, completion_id, "word " * 15_000)
    far = datetime.max.replace(tzinfo=timezone(-timedelta(hours=14)))
    import_rows(store, EditRecord(id="far", context="c", response="r", edit="e", created_at=far - timedelta(days=2)))
    import_rows(store, EditRecord(id="dear", context="c4", response="r", edit="e", propensity=1e-300), cost=1e308)
    with store.begin_write() as tx:  # what an old store may hold
        for n, table in enumerate((tables.edits, tables.edits)):
            ids_of = table.c.completion_id == ids[n]
            tx.connection.execute(update(table).where(ids_of).values(cost=[1e308, 1e160][n]))


def infinite_costs(client: httpx.Client, store: EditStore) -> None:
    import_rows(store, EditRecord(id="infinite", context="c", response="r", edit="e"), cost=float("inf"))


def hostile_texts(client: httpx.Client, store: EditStore) -> None:
    for completion_id in [
        *pull(client, 3, user=EVIL),
        ask(client, text=EVIL, user="\u202eann\u2028\x7f").json()["id"],
        ask(client, text="\x1b[2J\x85\u2029" + "a\u0300" * 500).json()["id"],
    ]:
        edit(client, completion_id, EVIL * 20)
    import_rows(store, EditRecord(id=EVIL, context=EVIL, response=EVIL, edit="", policy=EVIL, user=EVIL))
    import_rows(store, EditRecord(id="../..//%2e?#", context="c", response="r", edit="e"))


def by_name_only(client: httpx.Client, store: EditStore) -> None:
    for model in ("a", "b"):
        edit(client, ask(client, model).json()["id"])
        ask(client, model)


def over_the_limit(client: httpx.Client, store: EditStore) -> None:
    with store.begin_write() as tx:
        settings = {"rule": "ucb", "window": 3600.0, "user_limit": 2, "key_limit": 0}
        tx.append(tables.settings, settings=json.dumps(settings))
    many_edits(client, store)


def many_policies(client: httpx.Client, store: EditStore) -> None:
    with store.begin_write() as tx:
        for number in range(40):
            tx.append(tables.arms, name=f"p{number}", action="add", spec=f"script:p{number}", audience=None)
    for completion_id in pull(client, 40):
        edit(client, completion_id)


STATES: list[State] = [
    nothing, one_pull, two_pulls, two_pulls_and_one_edit, one_edit, many_edits, imported, nothing_to_edit, pending_only,
    retired, personal, forgotten, forgotten_all, failures_only, huge_numbers, infinite_costs, hostile_texts,
    by_name_only, over_the_limit, many_policies,
]  # fmt: skip


def list_pages(client: httpx.Client, store: EditStore) -> list[httpx.URL]:
    """Every page with every filter, and the page of every completion in the store."""
    document = client.get("/openapi.json")
    assert document.status_code == 200
    with store.begin_read() as connection:
        rows = list(read_edits(connection, tenant="default", pending=True))
    queries: list[dict[str, str]] = [{}, {"pending": "true"}, {"q": "word"}, {"q": EVIL}, {"q": "% _ \\ \" '"}]
    queries += [{"policy": name} for name in ("a", "nobody", EVIL, "", *{str(row.record.policy) for row in rows})]
    queries += [{"before": str(number)} for number in (0, 1, 3, 2**63 - 1)]
    queries += [{"q": "word", "policy": "a", "pending": "true", "before": "1000000"}]
    pages = [httpx.URL(path) for path in ("/", "/docs", "/ensemble", "/sign-in", "/sign-in?next=//evil.example")]
    pages += [httpx.URL("/edits", params=query) for query in queries]
    return [*pages, *(httpx.URL(f"/edits/{quote(str(row.record.id), safe='')}") for row in rows)]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_every_page_opens_in_every_state_of_the_store(serve, store: EditStore, state: State) -> None:
    client = serve(Scripted("a"), Scripted("b"), opener=Opens(Scripted("a"), Scripted("b")))
    state(client, store)
    opened = 0
    for page in list_pages(client, store):
        answer = client.get(page, follow_redirects=True)
        if answer.status_code == 404:  # an id with a slash has no page, and no route
            assert str(page).startswith("/edits/"), page
            assert "%2F" in str(page), page
            continue
        assert answer.status_code == 200, (page, answer.text)
        look(answer)
        opened += 1
    assert opened >= 15
    for path in ("/v1/ensemble", "/v1/ensemble?user=ann", "/v1/edits", "/v1/models", "/metrics"):
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.text)
    assert "unsafe" not in client.get("/nothing").text


def test_every_page_route_is_opened_by_this_test() -> None:
    routers = (web.write.router, web.edits.router, web.ensemble.router, web.auth.router, web._router)
    routes = [route for router in routers for route in router.routes if "GET" in route.methods]
    known = {"/", "/docs", "/ensemble", "/edits", "/edits/{completion_id}", "/sign-in"}
    assert {route.path for route in routes} == known | {"/static/colours.css"}


def test_pages_do_not_open_with_a_wrong_filter_but_say_why(serve) -> None:
    client = serve(Scripted("a"))
    for query in ("before=-1", "before=1e400", "before=99999999999999999999", "pending=perhaps", "q=" + "x" * 501):
        answer = client.get(f"/edits?{query}")
        assert answer.status_code == 400, query
        look(answer)
