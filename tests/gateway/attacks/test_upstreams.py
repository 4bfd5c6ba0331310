"""Attacks of a model server on the gateway: whatever it sends, the next arm answers, and nothing else is harmed."""

import asyncio
import gzip
import json
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.gateways import SETTINGS, Scripted, app_of, arms_of, ask, running, until

from copydesk.ensemble import verify_log
from copydesk.errors import InputError
from copydesk.gateway.app import create_app
from copydesk.gateway.backends.base import BackendError
from copydesk.gateway.backends.proxy import ProxyBackend
from copydesk.gateway.backends.vllm import load_adapter
from copydesk.gateway.log_writer import StoreUnavailable
from copydesk.policies import OpenAIPolicy, Sampling
from copydesk.store import EditStore
from copydesk.store.events import read_events
from copydesk.upstream import ReplyLimits, UpstreamError, parse_retry_after

MIB = 1 << 20
LIMITS = SETTINGS.replace(retries=0, max_reply=MIB, max_answer=10_000, timeout=2.0, deadline=3.0, cooldown=30.0)
Reply = Callable[[bool], bytes]  # the bytes of a response, for a request that asked for a stream or not


def http(body: bytes | str, status: str = "200 OK", head: str = "", *, length: bool = True) -> bytes:
    """A response; without a length the body ends with the connection."""
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    measured = f"content-length: {len(data)}\r\n" if length else ""
    return f"HTTP/1.1 {status}\r\n{measured}connection: close\r\n{head}\r\n".encode() + data


def answer(stream: bool, message: Any = None, finish: Any = "stop", more: str = "", **choice: Any) -> str:
    """An answer as JSON; `more` is put behind the choices."""
    said = {"role": "assistant", "content": "yes"} if message is None else message
    first = {"index": 0, "delta" if stream else "message": said, "finish_reason": finish, **choice}
    return f'{{"choices": [{json.dumps(first)}]{more}}}'


def document(text: str, stream: bool, head: str = "") -> bytes:
    """A response with one JSON document: the body, or the only chunk of a stream."""
    return http(f"data: {text}\n\ndata: [DONE]\n\n" if stream else text, head=head)


def sends(*parts: Any, **fields: Any) -> Reply:
    return lambda stream: document(answer(stream, *parts, **fields), stream)


def sends_text(text: str) -> Reply:
    return lambda stream: document(text, stream)


def sends_more(more: str) -> Reply:
    return lambda stream: document(answer(stream, more=f", {more}"), stream)


def sends_packed(pack: Callable[[bytes], bytes], encoding: str) -> Reply:
    """A body of 64 MiB in a few kilobytes."""
    packed = pack(b'{"choices": "' + b" " * (64 * MIB))
    return lambda stream: http(packed, head=f"content-encoding: {encoding}\r\n")


DOES_NOT_FIT: dict[str, Reply] = {
    "a gzip bomb": sends_packed(lambda body: gzip.compress(body, 9), "gzip"),
    "a deflate bomb": sends_packed(lambda body: zlib.compress(body, 9), "deflate"),
    "a gzip bomb in gzip": sends_packed(lambda body: gzip.compress(gzip.compress(body, 9)), "gzip, gzip"),
    "an encoding that was not asked for": sends_packed(lambda body: b"x", "br"),
    "a body that is not gzip": sends_packed(lambda body: b"plain", "gzip"),
    "a body without end": lambda stream: http(b" " * (3 * MIB) if not stream else b"x" * (3 * MIB), length=False),
    "a text that is too long": sends({"content": "x" * 10_001}),
    "HTML": sends_text("<html>hello</html>"),
    "nothing": lambda stream: http(b""),
    "null": sends_text("null"),
    "a list": sends_text("[]"),
    "a number": sends_text("1"),
    "no choices": lambda stream: document("{}", False),
    "lists in lists": sends_more('"deep": ' + "[" * 5_000 + "]" * 5_000),
    "objects in objects": sends_more('"deep": ' + '{"a":' * 100 + "1" + "}" * 100),
    "NaN": sends_more('"score": NaN'),
    "infinity": sends_more('"score": -Infinity'),
    "1e400": sends_more('"score": [1e400]'),
    "an integer of 30 digits": sends_more('"score": ' + "9" * 30),
    "an integer of 5,000 digits": sends_more('"score": ' + "9" * 5_000),
    "bytes that are not UTF-8": lambda stream: http(b'data: {"choices": "\xff"}\n\n'),
    "half a surrogate as the finish reason": sends(finish="\ud800"),
    "a finish reason that is a list": sends(finish=["stop"]),
    "a finish reason that is a novel": sends(finish="because " * 100),
    "a message that is a text": sends("hello"),
    "a message that is a list": sends(["hello"]),
    "content that is an object": sends({"content": {"text": "hello"}}),
    "content that is a number": sends({"content": 1}),
    "parts that are no objects": sends({"content": ["hello"]}),
    "a role that is a number": sends({"role": 1, "content": "hello"}),
    "tool calls that are a text": sends({"content": None, "tool_calls": "all"}),
    "tool arguments that are a number": sends({"content": None, "tool_calls": [{"function": {"arguments": 1}}]}),
    "an index that is a text": sends(index="0"),
    "an index below 0": sends(index=-1),
    "an index beyond 64 bits": sends(index=2**40),
    "choices that are an object": sends_text('{"choices": {"0": {}}}'),
    "choices that are texts": sends_text('{"choices": ["hello"]}'),
    "usage that is a text": sends_more('"usage": "much"'),
    "tokens below 0": sends_more('"usage": {"prompt_tokens": -1}'),
    "tokens that are a text": sends_more('"usage": {"prompt_tokens": "1"}'),
    "tokens beyond 32 bits": sends_more('"usage": {"completion_tokens": 9007199254740993}'),
    "an error with status 200": sends_text('{"error": {"message": "\\u001b[2Jbusy\\n", "code": [1]}}'),
    "a body that breaks off": lambda stream: http(b"{", head="content-length: 100\r\n", length=False),
    "chunks that are not chunks": lambda stream: http(
        "zz\r\nhello", head="transfer-encoding: chunked\r\n", length=False
    ),
    "a flood of headers": lambda stream: http("{}", head="".join(f"x-{i}: {'y' * 100}\r\n" for i in range(5_000))),
    "a header without end": lambda stream: http("{}", head="x: " + "y" * MIB + "\r\n"),
    "no HTTP": lambda stream: b"SSH-2.0-OpenSSH_9.6\r\n",
    "a redirect": lambda stream: http("", "307 Temporary Redirect", "location: http://127.0.0.1:1/v1\r\n"),
    "a redirect to no address": lambda stream: http("", "302 Found", "location: //xn--\r\n"),
    "a status of its own": lambda stream: http("{}", "299 Fine"),
    "a huge error": lambda stream: http("x" * (2 * MIB), "500 Oops"),
    "an error with control characters": lambda stream: http('{"error": "\\u001b]0;x\\u0007\\u202e\\n\\n"}', "500 Oops"),
}

BREAKS_STREAMS: dict[str, bytes] = {
    "comments for ever": b": ping\n\n" * 400_000,
    "a line without end": b"data: " + b"x" * (2 * MIB),
    "events of another name": b"event: x\nid: 1\n\n" * 200_000,
    "no finish reason": b'data: {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": null}]}\n\n',
    "only [DONE]": b"data: [DONE]\n\n",
    "no choice": b'data: {"choices": []}\n\ndata: [DONE]\n\n',
}


class HostileServer:
    """Answers each request with the bytes of `reply` and closes the connection; a pause comes between its pieces."""

    def __init__(self) -> None:
        self.reply: Reply = sends()
        self.pieces: Callable[[bytes], list[bytes]] = lambda data: [data]
        self.pause = 0.0
        self.requests = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            body = await reader.readexactly(size)
            self.requests += 1
            for piece in self.pieces(self.reply(b'"stream": true' in body)):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(self.pause)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @contextmanager
    def running(self) -> Iterator[str]:
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self.handle, "127.0.0.1", 0, limit=MIB))
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@pytest.fixture
def hostile() -> Iterator[tuple[HostileServer, str]]:
    server = HostileServer()
    with server.running() as url:
        yield server, url


Gateway = tuple[HostileServer, httpx.Client]


@pytest.fixture
def gateway(hostile: tuple[HostileServer, str], store: EditStore) -> Iterator[Gateway]:
    """A gateway whose first arm is behind the hostile server, and its second behind a good one."""
    server, url = hostile
    good = HostileServer()
    with good.running() as other:
        app = create_app(store, {"bad": f"m@{url}", "fine": f"m@{other}"}, LIMITS)
        with running(app) as address, httpx.Client(base_url=address, timeout=30) as client:
            yield server, client


def read_chunks(response: httpx.Response) -> list[Any]:
    return [json.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: {")]


def policy_of(response: httpx.Response) -> str:
    document: Any = read_chunks(response)[0] if "event-stream" in response.headers["content-type"] else response.json()
    return str(document["copydesk"]["policy"])


def check_harmless(client: httpx.Client, store: EditStore) -> None:
    """The failed arm has no pull and is in cooldown, and the log verifies."""
    bad = arms_of(client)["bad"]
    assert (bad["pulls"], bad["pending"], bad["status"]) == (0, 0, "resting")
    with store.begin_read() as connection:
        assert verify_log(read_events(connection)).errors == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", DOES_NOT_FIT)
def test_what_does_not_fit_is_a_failure_of_that_arm_and_the_next_one_answers(
    gateway: Gateway, store: EditStore, kind: str, stream: bool
) -> None:
    server, client = gateway
    server.reply = DOES_NOT_FIT[kind]
    with ThreadPoolExecutor() as pool:  # several at a time: their log entries share a transaction
        answers = list(pool.map(lambda i: ask(client, stream=stream, text=f"hello {i}"), range(4)))
    assert [one.status_code for one in answers] == [200] * 4
    assert {policy_of(one) for one in answers} == {"fine"}
    check_harmless(client, store)
    named = ask(client, model="bad", stream=stream)
    assert named.status_code == 502
    message = named.json()["error"]["message"]
    assert len(message) < 1_200
    assert message.isprintable()
    assert server.requests >= 2
    assert httpx.get(client.base_url.join("/edits?pending=true")).status_code == 200


@pytest.mark.parametrize("kind", BREAKS_STREAMS)
def test_a_stream_that_does_not_become_an_answer_is_a_failure(gateway: Gateway, store: EditStore, kind: str) -> None:
    server, client = gateway
    server.reply = lambda stream: http(BREAKS_STREAMS[kind], length=False)
    found = ask(client, stream=True)
    assert found.status_code == 200
    if late := {"no finish reason": "before the answer did", "no choice": "sent no choices"}.get(kind):
        # The client had seen the beginning: nobody else can answer.
        assert late in read_chunks(found)[-1]["error"]["message"]
    else:
        assert policy_of(found) == "fine"
    until(lambda: arms_of(client)["bad"]["status"] == "resting")
    check_harmless(client, store)


@pytest.mark.parametrize("kind", ["NaN", "a message that is a text", "half a surrogate as the finish reason", "1e400"])
def test_a_bad_chunk_after_a_good_one_ends_the_stream_with_an_error(
    gateway: Gateway, store: EditStore, kind: str
) -> None:
    server, client = gateway
    good = f"data: {answer(True, finish=None)}\n\n".encode()
    bad = DOES_NOT_FIT[kind](True).partition(b"\r\n\r\n")[2]
    server.reply = lambda stream: http(good + bad, length=False)
    first, last = read_chunks(ask(client, stream=True))
    assert first["choices"][0]["delta"]["content"] == "yes"
    assert last["error"]["type"] == "server_error"
    until(lambda: arms_of(client)["bad"]["status"] == "resting")
    check_harmless(client, store)


def test_a_server_cannot_name_another_policy_as_the_author_of_its_answer(gateway: Gateway) -> None:
    server, client = gateway
    forged = ', "copydesk": {"policy": "fine", "propensity": 9}'
    first, last = answer(True, finish=None, more=forged), answer(True, more=forged)
    server.reply = lambda stream: http(f"data: {first}\n\ndata: {last}\n\n" if stream else answer(False, more=forged))
    assert ask(client, model="bad").json()["copydesk"]["policy"] == "bad"
    chunks = read_chunks(ask(client, model="bad", stream=True))
    assert [chunk.get("copydesk", {}).get("policy") for chunk in chunks] == ["bad", None]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_server_that_drips_is_given_up_at_the_deadline(gateway: Gateway, store: EditStore, stream: bool) -> None:
    server, client = gateway
    server.pieces = lambda data: [data[i : i + 1] for i in range(len(data))]
    server.pause = 0.1
    found = ask(client, stream=stream)
    assert policy_of(found) == "fine"
    assert LIMITS.deadline - 1 < found.elapsed.total_seconds() < LIMITS.deadline + 3
    check_harmless(client, store)


def test_a_bomb_takes_no_memory(hostile: tuple[HostileServer, str]) -> None:
    server, url = hostile
    server.reply = DOES_NOT_FIT["a gzip bomb"]

    async def complete() -> None:
        policy = ProxyBackend("p", "m", url, retries=0, limits=ReplyLimits(max_reply=MIB))
        try:
            with pytest.raises(BackendError, match="sent more than"):
                await policy.complete({"messages": []})
        finally:
            await policy.close()

    server.reply(False)  # made before it is measured
    tracemalloc.start()
    try:
        asyncio.run(complete())
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_characters_that_no_database_stores_are_replaced_everywhere(
    gateway: Gateway, store: EditStore, stream: bool
) -> None:
    server, client = gateway
    calls = [{"index": 0, "id": "a\x00", "function": {"name": "f", "arguments": "\udfff"}}]
    server.reply = sends({"role": "assistant", "content": "a\x00b\ud83d c", "tool_calls": calls, "\ud800": "\x00"})
    found = ask(client, model="bad", stream=stream)
    assert found.status_code == 200
    whole = read_chunks(found)[0] if stream else found.json()
    said = whole["choices"][0]["delta" if stream else "message"]
    assert said["content"] == "a\ufffdb\ufffd c"
    assert said["tool_calls"][0]["id"] == "a\ufffd"
    assert said["tool_calls"][0]["function"]["arguments"] == said["\ufffd"] == "\ufffd"
    done = client.post("/v1/edits", json={"completion_id": whole["id"], "edit": "b"})
    assert done.status_code == 200
    assert "a\\ufffdb" in client.get("/v1/edits").text or "a\ufffdb" in client.get("/v1/edits").text


def test_what_fits_passes_unchanged(gateway: Gateway) -> None:
    server, client = gateway
    logprobs = {"content": [{"token": "é", "logprob": -9999.0, "bytes": [195, 169], "top_logprobs": []}]}
    message = {
        "role": "assistant",
        "content": "line\u2028🙂 \t\n",
        "reasoning_content": "hm",
        "annotations": [{"url": None}],
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.5}'}}],
    }
    more = ', "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}}, "service_tier": null'
    text = answer(False, message, "tool_calls", more, logprobs=logprobs, stop_reason=128_009)
    server.reply = lambda stream: document(text, stream)
    found = ask(client, model="bad").json()
    assert {key: found[key] for key in json.loads(text)} == json.loads(text)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("0.5", 0.5),
        ("999999999", 86_400.0),
        ("1e400", None),
        ("-1", None),
        ("NaN", None),
        ("9" * 400, None),
        ("٣", None),
        ("soon", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("Fri, 01 Jan 1999 00:00:00 GMT", 0.0),
        ("Fri, 99 Foo 1999 00:00:00 GMT", None),
    ],
)
def test_a_retry_after_is_bounded_or_ignored(value: str, seconds: float | None) -> None:
    assert parse_retry_after({"retry-after": value}) == seconds


@pytest.mark.parametrize("value", ["1e400", "999999999", "9" * 400, "-1", "soon"])
def test_a_busy_server_with_a_strange_retry_after_is_skipped_and_the_client_told_a_usable_one(
    gateway: Gateway, value: str
) -> None:
    server, client = gateway
    server.reply = lambda stream: http('{"error": {"message": "busy"}}', "429 Slow", f"retry-after: {value}\r\n")
    assert policy_of(ask(client)) == "fine"
    named = ask(client, model="bad")
    assert named.status_code == 429
    assert 1 <= int(named.headers.get("retry-after", "1")) <= 86_400


class Raising(Scripted):
    """A policy with an error of its own in it."""

    async def complete(self, request: Any) -> Any:
        raise ZeroDivisionError("secret")

    async def stream(self, request: Any) -> Any:
        raise RuntimeError("secret")
        yield {}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_unexpected_error_of_a_policy_is_a_failure_of_that_arm(store: EditStore, stream: bool) -> None:
    app = app_of(store, Raising("bad"), Scripted("fine"), config=SETTINGS.replace(cooldown=30.0))
    with running(app) as url, httpx.Client(base_url=url) as client:
        assert policy_of(ask(client, stream=stream)) == "fine"
        check_harmless(client, store)
        named = ask(client, model="bad", stream=stream)
        assert named.status_code >= 500
        assert "secret" not in named.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_answer_that_cannot_be_logged_leaves_no_pull_pending(
    store: EditStore, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    app = app_of(store, Scripted("a"))

    async def fail(completion: Any) -> None:
        raise StoreUnavailable("the store cannot be written to")

    with running(app) as url, httpx.Client(base_url=url) as client:
        monkeypatch.setattr(app.state.gateway, "record_completion", fail)
        found = ask(client, stream=stream)
        assert found.status_code == (200 if stream else 503)
        assert "error" in (read_chunks(found)[-1] if stream else found.json())
        until(lambda: arms_of(client)["a"]["pulls"] == 0)


@pytest.mark.parametrize("kind", DOES_NOT_FIT)
def test_the_same_replies_are_one_line_to_a_simulation_and_to_the_adapter_loader(
    hostile: tuple[HostileServer, str], tmp_path: Path, kind: str
) -> None:
    server, url = hostile
    server.reply = DOES_NOT_FIT[kind]
    limits = ReplyLimits(max_reply=MIB, max_answer=10_000)
    with pytest.raises(InputError) as caught:
        OpenAIPolicy("p", "m", url, retries=0, timeout=2, limits=limits).respond(
            ["hi"], [(0,)], Sampling(max_new_tokens=1)
        )
    assert str(caught.value).isprintable()
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(InputError) as caught:
        load_adapter("early", str(tmp_path), url, timeout=2)
    assert str(caught.value).isprintable()


def test_the_limits_are_what_refuses(hostile: tuple[HostileServer, str]) -> None:
    """A long answer passes where the limits allow it, so the tests above do not pass for another reason."""
    server, url = hostile
    server.reply = DOES_NOT_FIT["a text that is too long"]

    async def complete(limits: ReplyLimits) -> Any:
        policy = ProxyBackend("p", "m", url, retries=0, limits=limits)
        try:
            return await policy.complete({"messages": []})
        finally:
            await policy.close()

    assert len(asyncio.run(complete(ReplyLimits()))["choices"][0]["message"]["content"]) == 10_001
    with pytest.raises((BackendError, UpstreamError), match="10000 characters"):
        asyncio.run(complete(ReplyLimits(max_answer=10_000)))
