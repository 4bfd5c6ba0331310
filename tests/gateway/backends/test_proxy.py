"""A policy behind another server: what is passed on, what is tried again, and what comes back when it fails."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.support.gateways import running

from copydesk.gateway.backends import proxy
from copydesk.gateway.backends.base import BackendError
from copydesk.gateway.backends.proxy import ProxyBackend

REQUEST = {"model": "copydesk", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.3, "user": "ann"}
ANSWER = {"id": "up", "model": "m", "choices": [{"index": 0, "message": {"content": "yes"}, "finish_reason": "stop"}]}


class Upstream:
    """A server that answers each request with the next of its answers, the last for ever."""

    def __init__(self, *answers: Callable[[], Response]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[dict[str, str], Any]] = []

    async def answer(self, request: Request) -> Response:
        self.asked.append((dict(request.headers), await request.json()))
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])()

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self.answer, methods=["POST"])])


def fine() -> Response:
    return JSONResponse(ANSWER)


def refusal(status: int, headers: dict[str, str] | None = None, body: Any = None) -> Callable[[], Response]:
    document = body if body is not None else {"error": {"message": "no", "code": "c", "param": "p"}}
    return lambda: JSONResponse(document, status, headers)


def stream(*lines: str) -> Callable[[], Response]:
    async def events():
        for line in lines:
            yield line + "\n\n"

    return lambda: StreamingResponse(events(), media_type="text/event-stream")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch) -> None:
    monkeypatch.setattr(proxy, "_compute_retry_delay", lambda attempt: 0.01)


def complete(upstream: Upstream, **options) -> Any:
    with running(upstream.app()) as url:
        return asyncio.run(_complete(f"{url}/v1", **options))


async def _complete(url: str, **options) -> Any:
    policy = ProxyBackend("p", "real-name", url, **options)
    try:
        return await policy.complete(REQUEST)
    finally:
        await policy.close()


def streamed(upstream: Upstream) -> list[Any]:
    async def all_() -> list[Any]:
        policy = ProxyBackend("p", "m", f"{url}/v1")
        found = []
        try:
            async for chunk in policy.stream(REQUEST):
                found.append(chunk)
        except BackendError as exc:
            found.append(exc)
        finally:
            await policy.close()
        return found

    with running(upstream.app()) as url:
        return asyncio.run(all_())


def test_the_request_goes_on_as_it_is_with_the_servers_own_name_and_key() -> None:
    upstream = Upstream(fine)
    assert complete(upstream, api_key="sk-1") == ANSWER
    ((headers, body),) = upstream.asked
    assert body == REQUEST | {"model": "real-name"}
    assert headers["authorization"] == "Bearer sk-1"
    upstream = Upstream(fine)
    complete(upstream)
    assert "authorization" not in upstream.asked[0][0]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_temporary_errors_are_retried(status: int) -> None:
    upstream = Upstream(refusal(status), refusal(status), fine)
    assert complete(upstream) == ANSWER
    assert len(upstream.asked) == 3


@pytest.mark.parametrize(
    ("status", "tries", "becomes", "at_error"),
    [
        (400, 1, 400, False),
        (422, 1, 422, False),
        (401, 1, 502, True),
        (404, 1, 502, True),
        (429, 3, 429, True),
        (500, 3, 502, True),
        (504, 3, 504, True),
    ],
)
def test_an_error_is_the_requests_or_the_policys(status, tries, becomes, at_error) -> None:
    upstream = Upstream(refusal(status))
    with pytest.raises(BackendError) as error:
        complete(upstream)
    assert len(upstream.asked) == tries
    assert (error.value.status, error.value.retriable_elsewhere) == (becomes, at_error)
    assert "no" in error.value.message
    assert (error.value.code == "c") == (not at_error or status == 429)  # a wrong key there is no matter of the client


def test_it_waits_for_retry_after_up_to_a_limit() -> None:
    upstream = Upstream(refusal(429, {"retry-after": "0.3"}), fine)
    import time

    started = time.monotonic()
    complete(upstream)
    assert time.monotonic() - started >= 0.3
    upstream = Upstream(refusal(429, {"retry-after": "3600"}), fine)
    with pytest.raises(BackendError) as error:
        complete(upstream)
    assert (error.value.retry_after, len(upstream.asked)) == (3600.0, 1)


def test_an_unreachable_server_is_an_error() -> None:
    with pytest.raises(BackendError) as error:
        asyncio.run(_complete("http://127.0.0.1:9/v1"))
    assert (error.value.status, error.value.retriable_elsewhere) == (502, True)


@pytest.mark.slow
def test_a_server_that_times_out_is_not_retried() -> None:
    upstream = Upstream(fine)

    async def sleeps(request: Request) -> Response:
        upstream.asked.append(({}, None))
        await asyncio.sleep(3)
        return fine()

    app = Starlette(routes=[Route("/v1/chat/completions", sleeps, methods=["POST"])])
    with running(app) as url, pytest.raises(BackendError) as error:
        asyncio.run(_complete(f"{url}/v1", timeout=0.2))
    assert error.value.status == 504
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("body", ["text", {"choices": []}, {"choices": "x"}, [], {"choices": [1]}])
def test_invalid_answers_are_errors(body) -> None:
    with pytest.raises(BackendError) as error:
        complete(Upstream(refusal(200, body=body)))
    assert (error.value.status, error.value.retriable_elsewhere) == (502, True)


def test_an_error_response_need_not_be_json() -> None:
    with pytest.raises(BackendError, match="answered 500"):
        complete(Upstream(lambda: Response("<html>", 500)), retries=0)


def chunk(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def test_a_stream_is_passed_on_chunk_by_chunk() -> None:
    upstream = Upstream(stream(": comment", *(f"data: {json.dumps(chunk(t))}" for t in "ab"), "data: [DONE]"))
    assert streamed(upstream) == [chunk("a"), chunk("b")]


@pytest.mark.parametrize(
    "ending",
    [[], ["data: {broken"], ["data: 7"], ['data: {"error": {"message": "overheated"}}']],
)
def test_a_stream_that_breaks_off_is_an_error(ending) -> None:
    first, error = streamed(Upstream(stream(f"data: {json.dumps(chunk('a'))}", *ending)))
    assert first == chunk("a")
    assert isinstance(error, BackendError)
    assert (error.status, error.retriable_elsewhere) == (502, True)


def test_a_stream_without_done_is_whole_if_its_answer_ended() -> None:
    """As `transformers serve` sends it."""
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert streamed(Upstream(stream(f"data: {json.dumps(last)}"))) == [last]


def test_a_stream_is_tried_again_before_it_begins() -> None:
    upstream = Upstream(refusal(503), stream(f"data: {json.dumps(chunk('a'))}", "data: [DONE]"))
    assert streamed(upstream) == [chunk("a")]


def check(app: Starlette | None) -> None:
    async def run(url: str) -> None:
        policy = ProxyBackend("p", "m", f"{url}/v1", api_key="sk-1")
        try:
            await policy.check()
        finally:
            await policy.close()

    if app is None:
        asyncio.run(run("http://127.0.0.1:9"))
        return
    with running(app) as url:
        asyncio.run(run(url))


@pytest.mark.parametrize("status", [200, 307, 401, 404, 429])
def test_a_server_that_answers_anything_but_its_own_error_can_be_reached(status: int) -> None:
    answer = Response("{", status, {"location": "http://127.0.0.1:9/"})
    check(Starlette(routes=[Route("/v1/models", lambda request: answer)]))


def test_a_server_that_is_down_or_reports_its_own_error_cannot_be_reached() -> None:
    with pytest.raises(BackendError, match="cannot be reached"):
        check(None)
    with pytest.raises(BackendError, match="answered 503"):
        check(Starlette(routes=[Route("/v1/models", lambda request: Response("", 503))]))


@pytest.mark.slow
def test_a_server_that_accepts_and_stays_silent_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleeps(request: Request) -> Response:
        await asyncio.sleep(1)
        return Response()

    monkeypatch.setattr(proxy, "_CHECK_TIMEOUT", 0.1)
    with pytest.raises(BackendError, match="in time"):
        check(Starlette(routes=[Route("/v1/models", sleeps)]))
