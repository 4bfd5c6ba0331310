"""Against a real server that speaks OpenAI's API and does what a test's script says."""

import asyncio
import builtins
import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from tests.support.gateways import running, until

from copydesk.data.record import Message
from copydesk.errors import InputError, Interrupted
from copydesk.policies import OpenAIPolicy, PolicyResponse, Sampling
from copydesk.policies.openai_api import fold_seed

Json = dict[str, Any]
KEY = "sk-very-secret"
SAMPLING = Sampling(temperature=0.5, max_new_tokens=7)
QUESTIONS = [f"question {i}" for i in range(12)]
SEEDS = [(0, i) for i in range(12)]


class Server:
    """Counts what it is asked and how much of that at a time."""

    def __init__(self, script: Callable[[Json], Any]) -> None:
        self.script = script
        self.asked: list[Json] = []
        self.keys: list[str | None] = []
        self.under_way = self.most = self.dropped = 0
        self.pause = 0.0
        self.app = FastAPI()
        self.app.post("/v1/chat/completions")(self.complete)

    async def complete(self, http: Request) -> Response:
        request = await http.json()
        self.asked.append(request)
        self.keys.append(http.headers.get("authorization"))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        until = time.monotonic() + self.pause
        while time.monotonic() < until:
            await asyncio.sleep(0.01)
            if await http.is_disconnected():
                self.dropped += 1
                break
        self.under_way -= 1
        answer = self.script(request)
        if isinstance(answer, Response):
            return answer
        text, reason = answer if isinstance(answer, tuple) else (answer, "stop")
        message = {"role": "assistant", "content": text}
        body = json.dumps(
            {
                "id": "1", "object": "chat.completion", "created": 1, "model": request["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
            }
        )  # fmt: skip
        return Response(body, media_type="application/json")


def echo(request: Json) -> str:
    return "re: " + str(request["messages"][-1]["content"])


def error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message}}, status, headers)


SOON = {"retry-after-ms": "1"}


@contextmanager
def serving(script: Callable[[Json], Any] = echo, **settings: Any) -> Iterator[tuple[Server, OpenAIPolicy]]:
    server = Server(script)
    with running(server.app) as url:
        yield server, OpenAIPolicy("judge", "some/model", f"{url}/v1", **{"api_key": KEY, **settings})


def test_every_context_is_a_request_and_the_answers_come_back_in_order() -> None:
    chat = [Message(role="system", content="Be brief."), Message(role="user", content="Hello")]
    with serving() as (server, policy):
        assert policy.respond([*QUESTIONS, chat], [*SEEDS, (1,)], SAMPLING) == [
            *(f"re: {question}" for question in QUESTIONS),
            "re: Hello",
        ]
        by_text = {request["messages"][-1]["content"]: request for request in server.asked}
    assert by_text["question 3"] == {
        "model": "some/model", "messages": [{"role": "user", "content": "question 3"}],
        "seed": fold_seed((0, 3)), "temperature": 0.5, "max_tokens": 7,
    }  # fmt: skip
    assert [message["role"] for message in by_text["Hello"]["messages"]] == ["system", "user"]
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert (policy.usage.requests, policy.usage.retried) == (13, 0)
    assert (policy.usage.prompt_tokens, policy.usage.completion_tokens) == (39, 26)


def test_no_contexts_ask_nothing() -> None:
    with serving() as (server, policy):
        assert policy.respond([], [], SAMPLING) == [] and server.asked == []


def test_answers_are_trimmed_where_they_begin_to_repeat() -> None:
    sampling = replace(SAMPLING, trim_repeats=200)
    loop = "I am sorry for the delay. " * 60
    with serving(lambda request: (loop, "length")) as (server, policy):
        assert policy.respond(QUESTIONS[:1], SEEDS[:1], sampling) == ["I am sorry for the delay. "]
        assert policy.collect_responses(QUESTIONS[:1], SEEDS[:1], sampling) == [
            PolicyResponse("I am sorry for the delay. ", True, True)
        ]
        assert "trim_repeats" not in server.asked[0]
        assert policy.respond(QUESTIONS[:1], SEEDS[:1], SAMPLING) == [loop]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_concurrency_limits_the_running_requests(concurrency: int) -> None:
    with serving(concurrency=concurrency) as (server, policy):
        server.pause = 0.03
        policy.respond(QUESTIONS[:9], SEEDS[:9], SAMPLING)
    assert server.most == concurrency and len(server.asked) == 9


def test_a_seed_is_31_bits_and_the_same_everywhere() -> None:
    assert fold_seed((0, 3)) == 1040814060
    assert fold_seed((0, 3)) != fold_seed((3, 0)) != fold_seed((30,))
    assert all(0 <= fold_seed((i,)) < 2**31 for i in range(100))


def test_truncated_and_empty_answers_are_recognised() -> None:
    said = {"question 0": ("too lo", "length"), "question 1": (None, "stop"), "question 2": ("\ud800", "stop")}
    with serving(lambda request: said[request["messages"][0]["content"]]) as (_, policy):
        answers = policy.collect_responses(QUESTIONS[:3], SEEDS[:3], SAMPLING)
    assert answers == [PolicyResponse("too lo", True), PolicyResponse("", False), PolicyResponse("\ufffd", False)]


def test_a_busy_or_broken_server_is_asked_again() -> None:
    seen: Counter[str] = Counter()

    def script(request: Json) -> Any:
        text = request["messages"][0]["content"]
        seen[text] += 1
        return echo(request) if seen[text] == 3 else error(429 if seen[text] == 1 else 500, "busy", SOON)

    with serving(script) as (_, policy):
        assert policy.respond(QUESTIONS[:2], SEEDS[:2], SAMPLING) == ["re: question 0", "re: question 1"]
    assert policy.usage.retried == 4 and set(seen.values()) == {3}


def test_answers_come_as_they_arrive() -> None:
    gate = threading.Event()

    def script(request: Json) -> str:
        if request["messages"][0]["content"] == "question 2":
            gate.set()
        return echo(request)

    with serving(script, concurrency=1) as (_, policy):
        stream = policy.stream(QUESTIONS[:3], SEEDS[:3], SAMPLING)
        assert next(stream) == (0, PolicyResponse("re: question 0", False))
        assert gate.wait(10)  # goes on while nobody takes the answers
        assert [row for row, _ in stream] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (error(401, f"Incorrect API key: {KEY}"), r"answered 401: Incorrect API key: \*\*\*; set COPYDESK_KEY_JUDGE"),
        (error(404, "no such model"), r"answered 404: no such model; check the model's name"),
        (error(400, "too\nlong"), r"answered 400: too long$"),
        (error(429, "quota", SOON), r"answered 429: quota; ask for less"),
        (error(503, "loading", SOON), r"answered 503: loading$"),
        (JSONResponse({"detail": "Not Found"}, 404), r"answered 404: Not Found"),
        (Response("gateway\ntimeout", 504, SOON), r"answered 504: gateway timeout"),
        (JSONResponse({"error": {"message": "no credits"}}), r"no credits"),
        (JSONResponse({"choices": []}), r"no chat completion"),
        (JSONResponse([1]), r"no chat completion"),
        (Response("<html>hello</html>", media_type="text/html"), r"no chat completion"),
        (Response("{", media_type="application/json"), r"no chat completion"),
    ],
)
def test_a_permanent_error_is_one_line_without_the_key(answer: Response, line: str) -> None:
    with serving(lambda request: answer, retries=1) as (_, policy), pytest.raises(InputError, match=line) as found:
        policy.respond(QUESTIONS[:2], SEEDS[:2], SAMPLING)
    said = str(found.value)
    assert said.startswith(f"judge: some/model at {policy.url}: ")
    assert KEY not in said and "\n" not in said


def test_an_unreachable_server_is_an_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        policy = OpenAIPolicy("judge", "some/model", f"http://127.0.0.1:{free.getsockname()[1]}/v1", retries=0)
        with pytest.raises(InputError, match=r"cannot be reached \(ConnectError\); is it running there\?"):
            policy.respond(["hello"], [(0,)], SAMPLING)


def test_a_server_that_does_not_answer_in_time() -> None:
    with serving(timeout=0.05, retries=0) as (server, policy):
        server.pause = 5
        with pytest.raises(InputError, match=r"no answer within 0\.05 s"):
            policy.respond(["hello"], [(0,)], SAMPLING)


def test_the_first_permanent_error_cancels_the_rest() -> None:
    def script(request: Json) -> Any:
        return error(400, "no") if request["messages"][0]["content"] == "question 1" else echo(request)

    with serving(script, concurrency=2) as (server, policy), pytest.raises(InputError):
        policy.respond(QUESTIONS, SEEDS, SAMPLING)
    assert len(server.asked) < 12


@pytest.mark.parametrize("raised", [KeyboardInterrupt, Interrupted])
def test_an_interrupt_stops_at_once_and_drops_what_is_under_way(raised: type[BaseException]) -> None:
    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted(number) if raised is Interrupted else KeyboardInterrupt

    with serving(concurrency=3) as (server, policy):
        server.pause = 30
        before = signal.signal(signal.SIGUSR1, interrupt)
        try:
            main = threading.main_thread().ident
            assert main is not None

            def send() -> None:
                until(lambda: server.under_way == 3)
                signal.pthread_kill(main, signal.SIGUSR1)

            sender = threading.Thread(target=send)
            sender.start()
            started = time.monotonic()
            with pytest.raises(raised):
                policy.respond(QUESTIONS, SEEDS, SAMPLING)
            sender.join()
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert time.monotonic() - started < 10
        until(lambda: server.dropped == 3)
        assert len(server.asked) == 3
    assert not [thread for thread in threading.enumerate() if thread.name == "judge answers"]


def test_it_works_where_an_event_loop_runs() -> None:
    with serving() as (_, policy):

        async def within() -> list[str]:
            here = policy.respond(["one"], [(0,)], SAMPLING)
            return here + await asyncio.to_thread(policy.respond, ["two"], [(0,)], SAMPLING)

        assert asyncio.run(within()) == ["re: one", "re: two"]


def test_a_policy_without_a_key_sends_none_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(api_key=None) as (server, policy):
        policy.respond(["hello"], [(0,)], SAMPLING)
    assert KEY not in str(server.keys)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"url": "localhost:8000"}, "not the address of a server"),
        ({"url": "http://ann:word@host/v1"}, "not the address of a server"),
        ({"api_key": "sk-\n1"}, "key"),
        ({"api_key": ""}, "key"),
        ({"concurrency": 0}, "concurrency"),
        ({"retries": -1}, "retries"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        OpenAIPolicy(**{"name": "judge", "model": "m", "url": "http://127.0.0.1:1/v1", **wrong})


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "httpx":
            raise ModuleNotFoundError("No module named 'httpx'", name="httpx")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"needs httpx; install it with: pip install 'copydesk\[llm\]'"):
        OpenAIPolicy("judge", "m", "http://127.0.0.1:1/v1")
