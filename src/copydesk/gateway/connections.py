"""HTTP connections with limits: the size of a request, the time to send it and to take its answer, and their number.

uvicorn has no limit on the head of a request, and waits for ever for a head, for a body, and for a client that does not
read. `build_server` gives it a protocol that has these limits:

- a head takes at most 64 KiB and 256 headers (431); chunks, extensions and trailers of a body add little to it (413);
- a head, and then its body, arrive within `client_timeout` (408), and so does a request on a new connection;
- a client that does not read for `client_timeout` is disconnected;
- at most `max_connections` are open, more are answered with 503 and closed; few requests wait on one (pipelining).

Requests that are not HTTP get 400. Refusals are counted, and logged in at most one line a minute.
"""

import asyncio
import http
import json
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from copydesk.gateway.config import GatewayConfig
from copydesk.gateway.errors import make_error_body

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""The largest head of a request: its first line and its headers."""

_MAX_HEADERS = 256
_MAX_FRAMING_BYTES = 128 * 1024  # of chunk sizes, extensions and trailers, besides as much as the body itself has
_MAX_CHUNKS = 16_384  # in one body; each costs a few calls
_MAX_PIPELINED = 16  # requests that wait for the answer to an earlier one on their connection
_LINGER_SECONDS = 2.0  # for a client to read why it was refused, while what it still sends is dropped
_MAX_LINGER_BYTES = 4 * 1024 * 1024
_MIN_TAKEN_BYTES = 512 * 1024  # that a client takes of a large answer within the timeout
_SWEEP_TICKS = 5  # of uvicorn, each 0.1 s, between two looks at the deadlines
_SHUTDOWN_GRACE_SECONDS = 30  # for running answers after the signal to stop
_LOG_INTERVAL = 60.0  # seconds between two lines about the same

_HEAD_TOO_LARGE = (431, f"the head of the request has more than {MAX_HEAD_BYTES} bytes", "head too large")

_Phase = Literal["idle", "head", "body"]  # what of a request is being read


class RefusalLog:
    """Counts what was refused, and logs it at most once a minute."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._unlogged: Counter[str] = Counter()
        self._logged_at = -_LOG_INTERVAL

    def add(self, reason: str) -> None:
        """Count a refused connection or request."""
        self.counts[reason] += 1
        self._unlogged[reason] += 1
        if (now := time.monotonic()) - self._logged_at >= _LOG_INTERVAL:
            parts = [f"{count} ({reason})" for reason, count in self._unlogged.most_common()]
            logger.warning("refused by the limits on connections: %s", ", ".join(parts))
            self._unlogged.clear()
            self._logged_at = now


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with the limits of this module.

    It overrides the callbacks of the parser; `enforce_deadlines` is called about twice a second, which costs less than
    timers for each request.
    """

    def __init__(self, *args: Any, settings: GatewayConfig, refusals: RefusalLog, **more: Any) -> None:
        super().__init__(*args, **more)
        self._settings = settings
        self._refusals = refusals
        self._phase: _Phase = "idle"
        self._deadline: float | None = None  # for what is being read
        self._refused = False
        self._dropped = 0  # bytes that came after the refusal
        self._limit: tuple[int, str, str] | None = None  # the limit that a callback found exceeded
        self._messages = 0
        self._unread_chunk = 0  # bytes of the current chunk, if it begins a message
        self._received = 0  # bytes of the head or of the body, as they came
        self._head_size = 0
        self._body_size = 0
        self._chunks = 0
        self._blocked_since: float | None = None  # since when the client has taken too little
        self._blocked_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, or refuse the connection if there are too many."""
        super().connection_made(transport)
        self._deadline = self._new_deadline()
        if len(self.connections) > self._settings.max_connections:
            self._refused = True
            self._refusals.add("too many connections")
            transport.write(_render_refusal(503, "too many connections are open; retry"))
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, within the limits."""
        if self._refused:
            self._dropped += len(data)
            if self._dropped > _MAX_LINGER_BYTES:
                self.transport.abort()
            return
        self._unset_keepalive_if_required()
        if self._deadline is None:
            self._deadline = self._new_deadline()
        self._unread_chunk = len(data) if self._phase == "idle" else 0
        messages = self._messages
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request is answered as if it had not asked for another protocol; what follows it is not HTTP.
            self.cycle.keep_alive = False
            self._refused = True
        except httptools.HttpParserError:
            self._refuse(*(self._limit or (400, "this is not a valid HTTP request", "invalid HTTP")))
        else:
            if self._messages == messages:
                self._received += len(data)
            self._check_size()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._phase = "head"
        self._messages += 1
        self._received, self._unread_chunk = self._unread_chunk, 0
        self._head_size = self._body_size = self._chunks = 0
        if self._deadline is None:
            self._deadline = self._new_deadline()

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._grow_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those after a body (trailers) are dropped, as the request was checked without them."""
        if self._phase != "head":
            return
        self._grow_head(len(name) + len(value) + 4)
        if len(self.headers) >= _MAX_HEADERS:
            self._exceed(431, f"the request has more than {_MAX_HEADERS} headers", "too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: the request is handled while its body arrives."""
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._exceed(429, "too many requests wait on this connection", "too many pipelined requests")
        super().on_headers_complete()
        self._phase = "body"
        self._received = 0
        self._deadline = self._new_deadline()

    def on_chunk_header(self) -> None:
        """A chunk of a body begins."""
        self._chunks += 1
        if self._chunks > _MAX_CHUNKS:
            self._exceed(413, f"the body has more than {_MAX_CHUNKS} chunks", "body too large")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body_size += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete; the answer may take its time."""
        self._phase = "idle"
        self._deadline = None
        super().on_message_complete()

    def resume_writing(self) -> None:
        """The client has taken most of what was sent."""
        self._blocked_since = None
        super().resume_writing()

    def enforce_deadlines(self, now: float) -> None:
        """Close the connection if its client has taken too long; `now` is the time of the event loop."""
        closing = self.transport.is_closing()  # it closes when the client has taken everything
        if not closing and self._deadline is not None and now > self._deadline:
            if self._refused:
                self.transport.abort()
            elif self.flow.read_paused or (self._phase != "body" and self._is_answering()):
                self._deadline = self._new_deadline()  # the client waits for the gateway
            elif self._phase == "idle":
                self.transport.close()
            else:
                seconds = f"{self._settings.client_timeout:g} s"
                self._refuse(408, f"the {self._phase} of the request did not arrive in {seconds}", "too slow")
        elif closing or self.flow.write_paused:
            size = self.transport.get_write_buffer_size()
            if self._blocked_since is None or size <= self._blocked_size - _MIN_TAKEN_BYTES:
                self._blocked_since, self._blocked_size = now, size
            elif now - self._blocked_since > self._settings.client_timeout:
                self._refusals.add("answer not read")
                self.transport.abort()

    def _is_answering(self) -> bool:
        cycle = cast(RequestResponseCycle | None, self.cycle)
        return cycle is not None and not cycle.response_complete

    def _new_deadline(self) -> float:
        return self.loop.time() + self._settings.client_timeout

    def _grow_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD_BYTES:
            self._exceed(*_HEAD_TOO_LARGE)

    def _exceed(self, status: int, message: str, reason: str) -> None:
        """Stop the parser, from within one of its callbacks."""
        self._limit = (status, message, reason)
        raise ValueError(message)

    def _check_size(self) -> None:
        """Check what the callbacks of the parser do not see: headers that have no end, and the framing of chunks."""
        if self._phase == "head" and self._received > MAX_HEAD_BYTES:
            self._refuse(*_HEAD_TOO_LARGE)
        elif self._phase == "body":
            framing = self._received - self._body_size
            if (
                framing > self._body_size + _MAX_FRAMING_BYTES
                or self._received > 2 * self._settings.max_body + _MAX_FRAMING_BYTES
            ):
                self._refuse(413, "the body is too large", "body too large")

    def _refuse(self, status: int, message: str, reason: str) -> None:
        """Answer with an error if the answer to no other request is under way, and close the connection."""
        self._refused = True
        self._refusals.add(reason)
        waiting = bool(self.pipeline)
        self.pipeline.clear()
        cycle = cast(RequestResponseCycle | None, self.cycle)
        begun = False
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True  # what the application still sends goes nowhere
            cycle.message_event.set()
            begun = waiting or cycle.response_started or self._phase != "body"
        if begun:
            self.transport.abort()
            return
        if cycle is None or self._phase != "body" or not cycle.response_complete:
            self.transport.write(_render_refusal(status, message))
        # Closing at once would reset the connection, and the client might not see the answer.
        self._deadline = self.loop.time() + _LINGER_SECONDS
        self.flow.resume_reading()
        self.transport.write_eof()


def _render_refusal(status: int, message: str) -> bytes:
    """An HTTP response with an error in the format of the API, after which the connection closes."""
    body = json.dumps(make_error_body(status, message)).encode()
    head = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


class GatewayServer(uvicorn.Server):
    """uvicorn's server with the deadlines of its connections.

    Attributes:
        on_start: called once it answers.
        refusals: what its limits have refused.
    """

    on_start: Callable[[], None] = staticmethod(lambda: None)
    refusals: RefusalLog

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        self.on_start()

    async def on_tick(self, counter: int) -> bool:
        """Enforce the deadlines; uvicorn calls it ten times a second."""
        if counter % _SWEEP_TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                cast(LimitedHttpProtocol, connection).enforce_deadlines(now)
        return await super().on_tick(counter)


def build_server(app: ASGIApp, settings: GatewayConfig) -> GatewayServer:
    """A server of an application whose connections have limits; the application's lifespan is the caller's business."""
    refusals = RefusalLog()
    protocol = partial(LimitedHttpProtocol, settings=settings, refusals=refusals)
    config = uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], protocol),
        ws="none",
        lifespan="off",
        log_config=None,  # `copydesk serve` formats these records as it does its own
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # More requests than connections: those of clients that have gone.
        limit_concurrency=settings.max_connections + 1,
        timeout_graceful_shutdown=_SHUTDOWN_GRACE_SECONDS,
    )
    uvicorn_logger = logging.getLogger("uvicorn.error")
    if not any(isinstance(known, _RepeatedWarnings) for known in uvicorn_logger.filters):
        uvicorn_logger.addFilter(_RepeatedWarnings())
    server = GatewayServer(config)
    server.refusals = refusals
    return server


class _RepeatedWarnings(logging.Filter):
    """Drops a warning that was logged less than a minute ago, whatever its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        message, now = str(record.msg), time.monotonic()
        if now - self._logged_at.get(message, -_LOG_INTERVAL) < _LOG_INTERVAL:
            return False
        if len(self._logged_at) >= 100:
            self._logged_at.clear()
        self._logged_at[message] = now
        return True
