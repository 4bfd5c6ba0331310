"""The client against a running gateway."""

import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support.gateways import Scripted, app_of, running

import copydesk
from copydesk.errors import InputError
from copydesk.gateway import auth
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key


def test_ask_and_edit(tmp_path: Path) -> None:
    policy = Scripted("a", lambda request: "one two")
    with running(app_of(str(tmp_path / "copydesk.db"), policy)) as url, copydesk.Client(url) as client:
        reply = client.complete("Write a reply", user="ann", temperature=0.5)
        assert (reply.text, reply.policy, reply.propensity) == ("one two", "a", 1.0)
        assert policy.asked[0]["messages"] == [{"role": "user", "content": "Write a reply"}]
        assert (policy.asked[0]["user"], policy.asked[0]["temperature"]) == ("ann", 0.5)
        receipt = client.edit(reply.id, "one 2")
        assert (receipt.cost, receipt.revision, receipt.counted) == (0.5, 1, True)
        assert client.edit(reply.id, "one 2") == receipt
        assert client.accept(reply.id).cost == 0.0
        named = client.complete([{"role": "system", "content": "Be brief"}], model="a")
        assert client.accept(named.id).counted is False
        assert client.add_policy("b", "script:b")["added"]
        assert client.retire_policy("b")["retired"]
        assert [arm["name"] for arm in client.get_ensemble()["arms"]] == ["a"]


def test_what_the_gateway_says_is_what_the_caller_reads(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(auth, "_KEY_CACHE_SECONDS", 0.0)
    store = EditStore.open(str(tmp_path / "copydesk.db"))
    with running(app_of(store, Scripted("a"))) as url:
        with copydesk.Client(url) as client, pytest.raises(InputError, match="there is no completion"):
            client.accept("chatcmpl-x")
        with store.begin_write() as tx:
            _, key = create_key(tx.connection, "app", scopes=["complete"])
        with copydesk.Client(url) as client, pytest.raises(InputError, match="give an API key"):
            client.complete("x")
        with copydesk.Client(url, key) as client:
            assert client.complete("x").policy == "a"
            with pytest.raises(InputError, match="'edit'"):
                client.accept("chatcmpl-x")


def test_there_is_no_gateway() -> None:
    with copydesk.Client("http://127.0.0.1:9") as client, pytest.raises(InputError, match="cannot be reached"):
        client.complete("x")
    stranger = Starlette(routes=[Route("/v1/ensemble", lambda request: PlainTextResponse("hi"))])
    with running(stranger) as url, copydesk.Client(url) as client:
        with pytest.raises(InputError, match="not a Copydesk gateway"):
            client.get_ensemble()
        with pytest.raises(InputError, match=r"answered 404|not a Copydesk gateway"):
            client.accept("x")


def test_without_httpx_it_says_what_to_install(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(InputError, match=r"copydesk\[client\]"):
        copydesk.Client()


@pytest.mark.parametrize("document", [{}, {"choices": []}, {"choices": [{"message": None}]}, {"error": "no"}])
def test_answers_of_another_server_are_an_error_in_one_line(document) -> None:
    async def answer(scope, receive, send) -> None:
        body = json.dumps(document).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with running(answer, "off") as url, copydesk.Client(url) as client:
        for work in (lambda: client.complete("x"), lambda: client.edit("x", "y")):
            with pytest.raises(InputError, match="not a Copydesk gateway"):
                work()
