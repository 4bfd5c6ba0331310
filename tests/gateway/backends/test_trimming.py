"""`--trim-repeats`: answers are cut where they begin to repeat, whole and streamed, and logged as they were shown."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.support.gateways import SETTINGS, Scripted, ask, running

from copydesk.data.repetition import trim_repeats
from copydesk.gateway.app import create_app
from copydesk.gateway.backends.base import BackendError, Json
from copydesk.gateway.backends.trimming import TrimmedBackend
from copydesk.store import EditStore, find_completion, tables

LOOP = "I am sorry that the parcel is late; it will arrive on Friday. "
TEXT = "Dear Ann!\n" + LOOP * 9
TRIMMED = "Dear Ann!\n" + LOOP
USAGE = {"prompt_tokens": 3, "completion_tokens": 140, "total_tokens": 143}

Connect = Callable[..., httpx.Client]


class Upstream:
    """A model's server that answers with a document, or with a stream of chunks that may never end."""

    def __init__(self, document: Any = None, chunks: Iterator[Any] | None = None) -> None:
        self.document = document
        self.chunks = chunks
        self.sent = 0
        self.dropped = threading.Event()

    async def answer(self, request: Request) -> Response:
        await request.json()
        return JSONResponse(self.document) if self.chunks is None else self.stream(self.chunks)

    def stream(self, chunks: Iterator[Any]) -> Response:
        async def write() -> AsyncIterator[str]:
            finished = False
            try:
                for chunk in chunks:
                    self.sent += 1
                    yield f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}\n\n"
                    await asyncio.sleep(0)
                finished = True
            finally:
                if not finished:
                    self.dropped.set()

        return StreamingResponse(write(), media_type="text/event-stream")

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self.answer, methods=["POST"])])


@pytest.fixture
def connect(store: EditStore) -> Iterator[Connect]:
    """Starts a gateway with the policy `m` behind an upstream server; gives a client of it."""
    with ExitStack() as stack:

        def start(upstream: Upstream, trim: int = 200) -> httpx.Client:
            url = stack.enter_context(running(upstream.app()))
            app = create_app(store, {"m": f"model@{url}/v1"}, SETTINGS.replace(trim_repeats=trim))
            return stack.enter_context(httpx.Client(base_url=stack.enter_context(running(app)), timeout=30))

        yield start


def logged(store: EditStore, completion_id: str) -> Any:
    with store.begin_read() as connection:
        found = find_completion(connection, completion_id)
    assert found is not None
    return found.record


def chunk(content: str | None = None, finish: str | None = None, index: int = 0, **delta: Any) -> Json:
    fields = delta if content is None else {"content": content, **delta}
    choice = {"index": index, "delta": fields, "finish_reason": finish}
    return {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "model", "choices": [choice]}


def write_chunks(text: str, size: int, finish: str = "stop") -> Iterator[Json]:
    yield chunk("", role="assistant")
    for start in range(0, len(text), size):
        yield chunk(text[start : start + size])
    yield chunk(finish=finish)


def read_chunks(answer: httpx.Response) -> list[Json]:
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def join_content(chunks: list[Json], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_an_answer_is_cut_and_logged_as_the_client_sees_it(connect: Connect, store: EditStore) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "content": TEXT, "tool_calls": calls, "reasoning_content": "a" * 300}
    document = {"choices": [{"index": 0, "message": message, "finish_reason": "stop", "x": 1}], "usage": USAGE}
    client = connect(Upstream(document))
    body = ask(client, "m").json()
    assert body["choices"] == [
        {"index": 0, "message": {**message, "content": TRIMMED}, "finish_reason": "length", "x": 1}
    ]
    assert body["usage"] == USAGE
    row = logged(store, body["id"])
    assert row.response == TRIMMED
    assert row.metadata["finish_reason"] == "length"
    with store.begin_read() as connection:
        assert connection.execute(select(tables.completions.c.usage)).scalars().all() == [json.dumps(USAGE)]
    # The edit is costed against what was shown.
    edit = client.post("/v1/edits", json={"completion_id": body["id"], "edit": TRIMMED}).json()
    assert edit["cost"] == 0


@pytest.mark.parametrize("content", ["Short.", TEXT[:209], None, [{"type": "text", "text": TEXT}]])
def test_an_answer_that_repeats_nothing_passes_unchanged(connect: Connect, content: Any) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    assert ask(connect(Upstream({"choices": [choice]})), "m").json()["choices"] == [choice]


@pytest.mark.parametrize("reason", ["tool_calls", "content_filter"])
def test_a_finish_reason_that_means_more_than_the_cut_stays(connect: Connect, reason: str) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": reason}
    body = ask(connect(Upstream({"choices": [choice]})), "m").json()
    assert body["choices"][0] == {**choice, "message": {"role": "assistant", "content": TRIMMED}}


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_stream_is_cut_and_its_server_is_stopped(connect: Connect, store: EditStore, size: int) -> None:
    loops = 300 * max(size, 30)  # more text than sockets hold, whatever the size of a chunk
    upstream = Upstream(chunks=write_chunks("Dear Ann!\n" + LOOP * loops, size))
    chunks = read_chunks(ask(connect(upstream), "m", stream=True))
    assert upstream.dropped.wait(10)
    assert upstream.sent < loops * len(LOOP) // size
    assert join_content(chunks) == TRIMMED
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"][0]["finish_reason"]] == [
        "length"
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    row = logged(store, chunks[0]["id"])
    assert (row.response, row.metadata["finish_reason"]) == (TRIMMED, "length")


def test_openais_client_reads_a_stream_that_was_cut(connect: Connect) -> None:
    client = openai.OpenAI(base_url=f"{connect(Upstream(chunks=write_chunks(TEXT, 5))).base_url}/v1", api_key="none")
    chunks = list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TRIMMED
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_stream_shows_text_while_it_arrives(connect: Connect) -> None:
    text = "The parcel left the depot in Leeds on Monday. Ann may expect it by noon on Friday, or call us."
    chunks = read_chunks(ask(connect(Upstream(chunks=write_chunks(text, 4))), "m", stream=True))
    assert join_content(chunks) == text
    assert len([chunk for chunk in chunks if join_content([chunk])]) > 15
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_other_fields_of_a_stream_pass_unchanged(connect: Connect) -> None:
    calls = [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{"}}]
    sent = [
        chunk(None, role="assistant", reasoning_content="a" * 300),
        chunk("Let me look. ", tool_calls=None),
        chunk(None, tool_calls=calls),
        {**chunk(None, "tool_calls"), "service_tier": "x"},
        {**chunk(), "choices": [], "usage": USAGE},
    ]
    received = read_chunks(ask(connect(Upstream(chunks=iter([*sent, "[DONE]"]))), "m", stream=True))
    assert len(received) == len(sent)
    assert join_content(received) == "Let me look. "
    for before, after in zip(sent, received, strict=True):
        for choice in [*before["choices"], *after["choices"]]:
            choice["delta"].pop("content", None)
        changed = {key: after[key] for key in ("id", "model", "copydesk") if key in after}
        assert after == before | changed


def test_text_that_is_held_back_is_sent_if_no_finish_reason_comes(connect: Connect, store: EditStore) -> None:
    chunks = read_chunks(ask(connect(Upstream(chunks=iter([chunk("one one one"), "[DONE]"]))), "m", stream=True))
    assert join_content(chunks) == logged(store, chunks[0]["id"]).response == "one one one"
    assert [chunk["copydesk"]["policy"] for chunk in chunks if "copydesk" in chunk] == ["m"]


class SeveralChoices(Scripted):
    """Streams two choices in turn, one of which repeats itself."""

    texts = (TEXT, "A different answer, which says everything once.")

    async def stream(self, request: Json) -> AsyncIterator[Json]:
        try:
            for start in range(0, len(TEXT), 5):
                for index, text in enumerate(self.texts):
                    if part := text[start : start + 5]:
                        yield chunk(part, None if start + 5 < len(text) else "stop", index)
            self.stopped -= 1
        finally:
            self.stopped += 1

    async def complete(self, request: Json) -> Json:
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for index, text in enumerate(self.texts)
        ]
        return {"choices": choices, "usage": USAGE}


def test_each_of_several_choices_is_cut_by_itself() -> None:
    policy = SeveralChoices("m")
    trimmed = TrimmedBackend(policy, 200)

    async def collect() -> list[Json]:
        return [chunk async for chunk in trimmed.stream({"n": 2})]

    whole = asyncio.run(trimmed.complete({"n": 2}))
    assert [choice["message"]["content"] for choice in whole["choices"]] == [TRIMMED, policy.texts[1]]
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["length", "stop"]
    chunks = asyncio.run(collect())
    assert [join_content(chunks, index) for index in (0, 1)] == [TRIMMED, policy.texts[1]]
    reasons = {choice["index"]: choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]}
    assert reasons == {0: "length", 1: "stop"}
    assert policy.stopped == 1


def test_a_choice_that_goes_on_after_another_was_cut_is_read_to_its_end() -> None:
    policy = SeveralChoices("m")
    policy.texts = ("ab" * 60, TEXT[:150])

    async def collect() -> list[Json]:
        return [chunk async for chunk in TrimmedBackend(policy, 20).stream({"n": 2})]

    chunks = asyncio.run(collect())
    assert [join_content(chunks, index) for index in (0, 1)] == ["ab", trim_repeats(TEXT[:150], 20)]
    assert all(chunk["choices"] for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_without_the_option_answers_pass_byte_for_byte(connect: Connect, store: EditStore, stream: bool) -> None:
    extension = {"policy": "m", "propensity": 1.0, "round": None}
    if stream:
        sent = [*write_chunks(TEXT, 7), {**chunk(), "choices": [], "usage": USAGE, "ü": [1.0, 1e-9]}]
        answer = ask(connect(Upstream(chunks=iter([*sent, "[DONE]"])), trim=0), "m", stream=True)
        head = {"id": answer.headers["x-copydesk-completion"], "model": "m"}
        expected = [sent[0] | head | {"copydesk": extension}, *(one | head for one in sent[1:])]
        events = [b"data: " + json.dumps(one, separators=(",", ":")).encode() + b"\n\n" for one in expected]
        assert answer.content == b"".join([*events, b"data: [DONE]\n\n"])
    else:
        document = {
            "x": {"y": [1.0, None]}, "created": 1, "object": "chat.completion",
            "choices": [{"finish_reason": "stop", "message": {"content": TEXT, "role": "assistant"}, "index": 0}],
        }  # fmt: skip
        answer = ask(connect(Upstream(document), trim=0), "m")
        head = {"id": answer.headers["x-copydesk-completion"], "model": "m", "copydesk": extension}
        assert answer.content == json.dumps(document | head, separators=(",", ":")).encode()
    assert logged(store, answer.headers["x-copydesk-completion"]).response == TEXT


def test_a_model_in_this_process_is_trimmed_alike(store: EditStore) -> None:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                httpx.Client(
                    base_url=stack.enter_context(
                        running(create_app(store, {"base": "embedded"}, SETTINGS.replace(trim_repeats=length)))
                    ),
                    timeout=60,
                )
            )
            for length in (0, 4)
        ]
        asked = {"text": "Write an email. Notes: thank Ann for the parcel.", "temperature": 0, "max_tokens": 80}
        whole = ask(clients[0], "base", **asked).json()["choices"][0]["message"]["content"]
        wanted = trim_repeats(whole, 4)
        assert wanted != whole
        body = ask(clients[1], "base", **asked).json()
        assert (body["choices"][0]["message"]["content"], body["choices"][0]["finish_reason"]) == (wanted, "length")
        chunks = read_chunks(ask(clients[1], "base", **asked, stream=True))
        assert join_content(chunks) == logged(store, chunks[0]["id"]).response == wanted


def test_a_trimmed_policy_can_be_reached_if_its_policy_can() -> None:
    policy = Scripted("a")
    asyncio.run(TrimmedBackend(policy, 200).check())
    policy.unreachable = BackendError(502, "down")
    with pytest.raises(BackendError, match="down"):
        asyncio.run(TrimmedBackend(policy, 200).check())
