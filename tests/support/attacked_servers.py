"""A server with the limits of `copydesk serve` in a thread, and raw connections to attack it."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import uvloop
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.support.gateways import until

from copydesk.gateway.config import GatewayConfig
from copydesk.gateway.connections import GatewayServer, build_server

TIMEOUT = 1.0  # of the clients of these gateways, in seconds
SETTINGS = GatewayConfig(client_timeout=TIMEOUT, max_connections=60, max_body=100_000, cooldown=0.2)
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BIG = 40_000_000


async def healthz(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def echo(request: Request) -> Response:
    try:
        body = await request.body()
    except ClientDisconnect:
        return Response(status_code=499)
    return JSONResponse({"size": len(body), "headers": [name for name, _ in request.headers.items()]})


async def slow(request: Request) -> Response:
    await asyncio.sleep(3 * TIMEOUT)
    return PlainTextResponse("done")


async def big(request: Request) -> Response:
    return PlainTextResponse("x" * BIG)


class Streams:
    """Streams without an end; counts those that go on."""

    def __init__(self) -> None:
        self.open = 0

    async def respond(self, request: Request) -> Response:
        async def chunks() -> Any:
            self.open += 1
            try:
                while True:
                    yield b"x" * 65_536
                    await asyncio.sleep(0)
            finally:
                self.open -= 1

        return StreamingResponse(chunks())


class Attacked:
    """A server with limits, and the means to attack it."""

    def __init__(self, server: GatewayServer, port: int, streams: Streams) -> None:
        self.server, self.port, self.streams = server, port, streams
        self.url = f"http://127.0.0.1:{port}"

    @contextlib.contextmanager
    def connect(self, receive_buffer: int | None = None) -> Iterator[socket.socket]:
        with socket.socket() as client:
            if receive_buffer is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            client.settimeout(15)
            client.connect(("127.0.0.1", self.port))
            yield client

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    def answers_others(self) -> bool:
        """Whether another client is answered at once."""
        began = time.monotonic()
        return httpx.get(f"{self.url}/healthz", timeout=10).status_code == 200 and time.monotonic() - began < 1.0


@contextlib.contextmanager
def serving(app: Any, settings: GatewayConfig) -> Iterator[tuple[GatewayServer, int]]:
    """The server of `copydesk serve`, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    server = build_server(app, settings)

    async def run() -> None:
        async with app.router.lifespan_context(app):
            await server.serve(sockets=[listener])

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=work, daemon=True)
    port = listener.getsockname()[1]
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        yield server, port
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)


def send_all(client: socket.socket, data: bytes) -> int:
    """Send as much as the server takes; returns how much."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < len(data):
            sent += client.send(data[sent : sent + 262_144])
    return sent


def read_all(client: socket.socket) -> bytes:
    """What the server sends until it closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(65_536):
            found += data
    return found


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@contextlib.contextmanager
def serving_plain() -> Iterator[Attacked]:
    """A server of an application with answers that are slow, large, or have no end."""
    streams = Streams()
    routes = [
        Route("/healthz", healthz),
        Route("/echo", echo, methods=["POST"]),
        Route("/slow", slow),
        Route("/big", big),
        Route("/stream", streams.respond),
    ]
    with serving(Starlette(routes=routes), SETTINGS) as (server, port):
        yield Attacked(server, port, streams)
