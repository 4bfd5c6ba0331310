"""Completions: who answers, what is logged, and what happens when someone fails or leaves."""

import json

import httpx
import pytest
from sqlalchemy import select
from tests.support.gateways import SETTINGS, Scripted, arms_of, ask, until

from copydesk.ensemble import EnsembleConfig
from copydesk.gateway.backends.base import BackendError
from copydesk.store import EditStore, find_completion, tables


def logged(store: EditStore, completion_id: str):
    with store.begin_read() as connection:
        return find_completion(connection, completion_id)


def withdrawals(store: EditStore) -> list[tuple]:
    table = tables.withdrawals
    with store.begin_read() as connection:
        rows = connection.execute(select(table.c.arm, table.c.reason, table.c.rest_until).order_by(table.c.seq))
        return [tuple(row) for row in rows]


def test_the_answer_is_openais_with_the_choice_beside_it_and_is_logged(serve, store: EditStore) -> None:
    policy = Scripted("a")
    client = serve(policy)
    answer = ask(client, user="ann", temperature=0.5, made_up=[1, {"x": None}], metadata={"k": "v"})
    body = answer.json()
    assert answer.status_code == 200
    assert body["id"].startswith("chatcmpl-")
    assert body["choices"][0]["message"]["content"] == "a says hello"
    assert (body["object"], body["model"]) == ("chat.completion", "a")
    assert body["copydesk"] == {"policy": "a", "propensity": 1.0, "round": 1}
    assert answer.headers["x-copydesk-policy"] == "a"
    assert answer.headers["x-copydesk-completion"] == body["id"]
    assert float(answer.headers["x-copydesk-propensity"]) == 1.0
    sent = policy.asked[0]
    assert sent["made_up"] == [1, {"x": None}]
    assert (sent["temperature"], sent["user"], sent["metadata"]) == (0.5, "ann", {"k": "v"})
    row = logged(store, body["id"])
    assert (row.record.context, row.record.response, row.record.user) == ("hello", "a says hello", "ann")
    assert (row.record.policy, row.record.propensity, row.record.pending) == ("a", 1.0, True)
    assert row.record.metadata["parameters"] == {
        "temperature": 0.5,
        "made_up": [1, {"x": None}],
        "metadata": {"k": "v"},
    }
    assert row.record.metadata["requested"] == "copydesk"


def test_a_stream_is_the_same_answer_in_pieces(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    with client.stream(
        "POST",
        "/v1/chat/completions",
        json={"model": "copydesk", "stream": True, "messages": [{"role": "user", "content": "hello"}]},
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert {chunk["id"] for chunk in chunks} == {answer.headers["x-copydesk-completion"]}
    assert {chunk["model"] for chunk in chunks} == {"a"}
    assert chunks[0]["copydesk"] == {"policy": "a", "propensity": 1.0, "round": 1}
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == "a says hello"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert logged(store, chunks[0]["id"]).record.response == text


def test_a_policy_requested_by_name_is_not_counted_by_the_ensemble(serve) -> None:
    client = serve(Scripted("a"), Scripted("b"))
    body = ask(client, "b").json()
    assert body["model"] == "b"
    assert body["copydesk"] == {"policy": "b", "propensity": 1.0, "round": None}
    posted = client.post("/v1/edits", json={"completion_id": body["id"], "edit": "else"}).json()
    assert posted["counted"] is False
    assert posted["cost"] == 1.0
    assert all(arm["pulls"] == 0 for arm in arms_of(client).values())


def test_an_unknown_model_is_refused(serve) -> None:
    answer = ask(serve(Scripted("a")), "gpt-9")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_models_are_the_ensemble_and_every_policy(serve) -> None:
    models = serve(Scripted("b"), Scripted("a")).get("/v1/models").json()
    assert [model["id"] for model in models["data"]] == ["copydesk", "a", "b"]


def failing(name: str, failure: BackendError, times: int = 10**9) -> Scripted:
    policy = Scripted(name)
    policy.script = lambda request: failure if len(policy.asked) <= times else "recovered"
    return policy


@pytest.mark.parametrize("stream", [False, True])
def test_when_an_arm_fails_another_steps_in_and_the_failure_is_no_cost(serve, store: EditStore, stream: bool) -> None:
    bad, good = failing("bad", BackendError(502, "out of order")), Scripted("good")
    client = serve(bad, good, config=SETTINGS.__class__(cost=SETTINGS.cost, cooldown=60.0))
    for _ in range(4):
        answer = ask(client, stream=stream)
        assert answer.status_code == 200
        assert answer.headers["x-copydesk-policy"] == "good"
    assert len(bad.asked) == 1  # then it rested
    arms = arms_of(client)
    assert (arms["bad"]["pulls"], arms["bad"]["observed"], arms["bad"]["status"]) == (0, 0, "resting")
    assert arms["good"]["pulls"] == 4
    ((arm, reason, rest_until),) = withdrawals(store)
    assert (arm, reason) == ("bad", "out of order")
    assert rest_until is not None


def test_an_arm_returns_after_its_cooldown_which_grows_each_time(serve, store: EditStore) -> None:
    bad, good = failing("bad", BackendError(500, "no"), times=2), Scripted("good")
    client = serve(bad, good)
    until(lambda: ask(client).headers["x-copydesk-policy"] == "bad")
    assert len(bad.asked) == 3
    at = tables.withdrawals.c.at
    with store.begin_read() as connection:
        rests = [row.rest_until - row.at for row in connection.execute(select(tables.withdrawals).order_by(at))]
    assert rests == pytest.approx([0.2, 0.4])


def test_the_only_arm_is_tried_even_during_its_cooldown(serve) -> None:
    client = serve(failing("only", BackendError(503, "busy"), times=1))
    first = ask(client)
    assert first.status_code == 503
    assert first.json()["error"] == {"message": "busy", "type": "server_error", "param": None, "code": None}
    assert ask(client).status_code == 200


def test_when_every_arm_fails_the_last_error_is_returned(serve, store: EditStore) -> None:
    failure = BackendError(429, "slow down", code="rate_limit", retry_after=7.2)
    answer = ask(serve(failing("a", failure), failing("b", failure)))
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert sorted(arm for arm, _, _ in withdrawals(store)) == ["a", "b"]


def test_an_invalid_request_is_not_sent_to_other_arms(serve, store: EditStore) -> None:
    failure = BackendError(400, "too long", retriable_elsewhere=False, code="context_length_exceeded", param="messages")
    other = Scripted("b")
    client = serve(failing("a", failure), other)
    answer = ask(client)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert answer.json()["error"]["param"] == "messages"
    assert other.asked == []
    assert withdrawals(store) == [("a", "too long", None)]
    assert arms_of(client)["a"]["pulls"] == 0


def test_a_stream_that_breaks_off_says_so_and_is_not_logged_as_an_answer(serve, store: EditStore) -> None:
    class Breaks(Scripted):
        async def stream(self, request):
            yield self._chunk({"role": "assistant", "content": "Dear"}, None)
            raise BackendError(502, "the line went dead")

    client = serve(Breaks("a"))
    lines = [line for line in ask(client, stream=True).text.splitlines() if line]
    assert json.loads(lines[-1].removeprefix("data: "))["error"]["message"] == "the line went dead"
    assert "[DONE]" not in lines[-1]
    with store.begin_read() as connection:
        assert connection.execute(select(tables.completions)).all() == []
    assert [arm for arm, _, rest in withdrawals(store) if rest] == ["a"]


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_client_leaves_the_work_stops_and_the_pull_does_not_count(serve, store: EditStore, stream) -> None:
    slow = Scripted("slow", lambda request: "word " * 500, pause=0.05 if stream else 30.0)
    client = serve(slow)
    body = {"model": "copydesk", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    if stream:
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            next(answer.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/chat/completions", json=body, timeout=0.3)
    until(lambda: slow.stopped == 1)
    ((arm, reason, rest),) = until(lambda: withdrawals(store))
    assert (arm, rest) == ("slow", None)
    assert "went away" in reason
    assert arms_of(client)["slow"]["pulls"] == 0


def test_a_policy_that_raises_another_exception_is_an_error(serve, store: EditStore) -> None:
    class Broken(Scripted):
        async def complete(self, request):
            raise RuntimeError("a bug")

    client = serve(Broken("a"))
    answer = ask(client)
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    ((arm, reason, _),) = until(lambda: withdrawals(store))
    assert (arm, reason) == ("a", "RuntimeError: a bug")


def test_invalid_characters_are_replaced_in_the_response(serve, store: EditStore) -> None:
    client = serve(Scripted("a", lambda request: "a\x00b"))
    body = ask(client).json()
    assert logged(store, body["id"]).record.response == "a\ufffdb"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 3}]}, None),
        ({"model": ""}, "model"),
        ({"model": 1}, "model"),
        ({"n": 2}, "n"),
        ({"stream": "perhaps"}, "stream"),
        ({"user": "x" * 257}, "user"),
        ({"user": "a\x00"}, "user"),
        ({"messages": [{"role": "user", "content": "x" * 100_001}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * 1001}, "messages"),
    ],
)
def test_invalid_requests_are_refused(serve, change, param) -> None:
    policy = Scripted("a")
    answer = serve(policy).post(
        "/v1/chat/completions", json={"model": "copydesk", "messages": [{"role": "user", "content": "hi"}]} | change
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    if param:
        assert error["param"] == param
    assert policy.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"model": "copydesk", "messages": [{"role": "user", "content": "\xff"}]}',
        b'{"model": "copydesk", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "copydesk", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"model": "copydesk", "messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 5000 + b"}",
        b'{"model": "copydesk", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model": "copydesk", "messages": [{"role": "user", "content": "x"}], "a": '
        + b'{"a":' * 900
        + b"1"
        + b"}" * 901,
        "{}".encode("utf-16"),
    ],
)
def test_bodies_that_are_not_json_are_refused(serve, body: bytes) -> None:
    answer = serve(Scripted("a")).post(
        "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_ensemble_learns_who_is_edited_least(serve) -> None:
    """The loop through the door: the policy whose answers are always rewritten is chosen less and less."""
    client = serve(Scripted("bad"), Scripted("good"), ensemble=EnsembleConfig(alpha=0.2))
    chosen = []
    for _ in range(40):
        body = ask(client).json()
        chosen.append(body["copydesk"]["policy"])
        text = body["choices"][0]["message"]["content"]
        edit = text if chosen[-1] == "good" else "something else entirely"
        client.post("/v1/edits", json={"completion_id": body["id"], "edit": edit})
    assert chosen[-20:].count("good") > 16
    arms = arms_of(client)
    assert arms["good"]["mean_cost"] == 0.0
    assert arms["bad"]["mean_cost"] > 0.9
    assert arms["bad"]["bound"] is not None


def test_each_user_may_have_an_ensemble_of_their_own(serve) -> None:
    client = serve(Scripted("a"), Scripted("b"), ensemble=EnsembleConfig(alpha=0.1, scope="user", prior=2.0))
    liked = {"ann": "a", "bob": "b"}
    last = {}
    for t in range(60):
        user = "ann" if t % 2 else "bob"
        body = ask(client, user=user).json()
        last[user] = body["copydesk"]["policy"]
        edit = {"accepted": True} if last[user] == liked[user] else {"edit": "no"}
        client.post("/v1/edits", json={"completion_id": body["id"], **edit})
    assert last == liked
    mine = arms_of(client, user="ann")
    assert mine["a"]["pulls"] > mine["b"]["pulls"]
    assert mine["a"]["pulls"] + mine["b"]["pulls"] == 30


def test_a_client_that_leaves_while_the_ensemble_chooses_leaves_no_pull_behind(serve, store: EditStore) -> None:
    client = serve(Scripted("a"))
    with store.begin_write(), pytest.raises(httpx.ReadTimeout):  # nobody else can write meanwhile
        ask_quickly = httpx.Client(base_url=client.base_url, timeout=0.3)
        ask(ask_quickly)
    until(lambda: withdrawals(store))
    assert arms_of(client)["a"]["pulls"] == 0


def test_an_abandoned_stream_is_stopped_and_its_policy_released(store: EditStore) -> None:
    """The client is gone before the first event: the response is never even begun."""
    import asyncio

    from tests.support.gateways import app_of

    slow = Scripted("slow", lambda request: "word " * 50, pause=0.01)
    app = app_of(store, slow)
    body = json.dumps({"model": "slow", "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
    scope = {
        "type": "http",
        "client": ("127.0.0.1", 1),
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }

    async def run() -> None:
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await asyncio.sleep(3600)

        async def send(message) -> None:
            raise OSError("the line is dead")

        async with app.router.lifespan_context(app):
            with pytest.raises(Exception, match=r".*"):
                await app(scope, receive, send)
            for _ in range(200):
                if slow.stopped and not app.state.gateway._open_requests:
                    break
                await asyncio.sleep(0.01)
            assert slow.stopped == 1
            assert not app.state.gateway._open_requests

    asyncio.run(run())
    assert [arm for arm, _, _ in withdrawals(store)] == ["slow"]
