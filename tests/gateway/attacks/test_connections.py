"""Clients that send too much, too slowly, too often or never read: the gateway drops them and answers the others."""

import contextlib
import json
import logging
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import uvicorn
from tests.support.attacked_servers import (
    BIG,
    GET,
    POST,
    SETTINGS,
    TIMEOUT,
    Attacked,
    read_all,
    send_all,
    serving,
    serving_plain,
    status_of,
)
from tests.support.gateways import Scripted, app_of, ask, until
from tests.support.processes import Command
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from copydesk.gateway.connections import MAX_HEAD_BYTES
from copydesk.store import EditStore


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attacked]:
    with serving_plain() as found:
        yield found


@pytest.fixture(autouse=True)
def all_are_gone(attacked: Attacked) -> Iterator[None]:
    """Each test begins and ends without connections, so that what it leaves open is its own error."""
    yield
    until(lambda: attacked.connections == 0, 15)
    assert attacked.answers_others()


HEADS = {  # how it begins, what is repeated, and how often
    "one header of 100 MB": (GET + b"X: ", b"a" * 100_000, 1_000),
    "a header's name of 100 MB": (GET, b"a" * 100_000, 1_000),
    "many headers, 100 MB together": (GET, b"X-Header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 2_000, 1_100),
    "a head of tiny headers without an end": (GET, b"a: b\r\n" * 10_000, 1_000),
    "a URL of 100 MB": (b"GET /", b"a" * 100_000, 1_000),
    "a header just over the limit": (GET + b"X: ", b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 1),
    "300 headers": (GET, b"a: b\r\n" * 300 + b"\r\n", 1),
}


def send_head(client: socket.socket, name: str) -> int:
    """Send as much of a head as the server takes; returns how much."""
    begin, piece, times = HEADS[name]
    sent = send_all(client, begin + piece)
    with contextlib.suppress(ConnectionError):
        for _ in range(times - 1):
            client.sendall(piece)
            sent += len(piece)
    return sent


@pytest.mark.parametrize("name", list(HEADS))
def test_a_head_that_is_too_large_is_refused_at_once(attacked: Attacked, name: str) -> None:
    began = time.monotonic()
    with attacked.connect() as client:
        sent = send_head(client, name)
        assert attacked.answers_others()
        answer = read_all(client)
    assert status_of(answer) == 431
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert sent < 30_000_000  # the rest was not taken
    assert time.monotonic() - began < 5


def test_a_head_just_below_the_limit_is_answered(attacked: Attacked) -> None:
    with attacked.connect() as client:
        client.sendall(GET + b"Connection: close\r\nX: " + b"a" * (MAX_HEAD_BYTES - 500) + b"\r\n\r\n")
        assert status_of(read_all(client)) == 200


def test_the_next_head_of_a_connection_is_limited_too(attacked: Attacked) -> None:
    with attacked.connect() as client:
        client.sendall(GET + b"\r\n")
        assert status_of(client.recv(65_536)) == 200
        send_head(client, "one header of 100 MB")
        assert status_of(read_all(client)) == 431


@pytest.mark.parametrize(
    ("begin", "piece", "status"),
    [
        (b"", b"", 0),
        (b"", b"\r\n", 0),
        (b"GE", b"", 408),
        (b"GET /", b"a", 408),
        (GET, b"", 408),
        (GET + b"X: ", b"a", 408),
        (POST + b"Content-Length: 1000\r\n\r\n", b"", 408),
        (POST + b"Content-Length: 1000\r\n\r\n", b"a", 408),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"", 408),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", 408),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x", 408),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n", 408),
        (POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", b"", 408),
    ],
)
def test_a_request_that_does_not_arrive_in_time_is_dropped(
    attacked: Attacked, begin: bytes, piece: bytes, status: int
) -> None:
    """Whether nothing more comes, or a byte now and then."""
    began = time.monotonic()
    with attacked.connect() as client:
        client.sendall(begin)
        answer = b""
        client.settimeout(0.1)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 10 * TIMEOUT:
                client.sendall(piece if b"408" not in answer else b"")
                with contextlib.suppress(TimeoutError):
                    if not (data := client.recv(65_536)):
                        break
                    answer += data
    assert time.monotonic() - began < 5 * TIMEOUT
    assert status_of(answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")) == status


def test_a_body_has_its_own_time_after_a_slow_head(attacked: Attacked) -> None:
    with attacked.connect() as client:
        client.sendall(POST)
        time.sleep(0.6 * TIMEOUT)
        client.sendall(b"Connection: close\r\nContent-Length: 4\r\n\r\n")
        time.sleep(0.6 * TIMEOUT)
        client.sendall(b"body")
        assert json.loads(read_all(client).partition(b"\r\n\r\n")[2])["size"] == 4


def test_an_answer_may_take_longer_than_a_request(attacked: Attacked) -> None:
    assert httpx.get(f"{attacked.url}/slow", timeout=30).text == "done"


@pytest.mark.parametrize("data", [b"\r\n", GET])
def test_the_next_request_does_not_cut_off_the_answer_that_is_under_way(attacked: Attacked, data: bytes) -> None:
    with attacked.connect() as client:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.1)
        client.sendall(data)
        assert status_of(client.recv(65_536)) == 200


BODIES = {
    "chunks of one byte": b"1\r\na\r\n" * 500_000,
    "a chunk extension without an end": b"5;" + b"x" * 2_000_000,
    "extensions at every chunk": (b"1;" + b"x" * 5_000 + b"\r\na\r\n") * 400,
    "trailers without an end": b"5\r\nhello\r\n0\r\n" + b"a: b\r\n" * 400_000,
    "one trailer without an end": b"5\r\nhello\r\n0\r\na: " + b"b" * 2_000_000,
    "a body larger than any limit": (b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 40,
}


@pytest.mark.parametrize("name", list(BODIES))
def test_a_chunked_body_without_an_end_is_refused(attacked: Attacked, name: str) -> None:
    with attacked.connect() as client:
        client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        send_all(client, BODIES[name])
        assert attacked.answers_others()
        assert status_of(read_all(client)) in (413, 0)
    assert attacked.server.refusals.counts["body too large"] > 0


def test_small_chunks_of_an_ordinary_body_are_taken(attacked: Attacked) -> None:
    answer = httpx.post(f"{attacked.url}/echo", content=iter([b"x" * 50] * 1_500))
    assert answer.json()["size"] == 75_000


def test_trailers_are_not_headers(attacked: Attacked) -> None:
    with attacked.connect() as client:
        head = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head + b"2\r\nhi\r\n0\r\nAuthorization: Bearer x\r\nHost: evil\r\n\r\n")
        found = json.loads(read_all(client).partition(b"\r\n\r\n")[2])
    assert found["size"] == 2
    assert "authorization" not in found["headers"]
    assert found["headers"].count("host") == 1


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 99999999999999999999999999\r\n\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n",
        b"Content-Length : 5\r\n\r\nhello",
        b"X: a\x00b\r\n\r\n",
        b" folded\r\n\r\n",
    ],
)
def test_ambiguous_heads_are_refused(attacked: Attacked, head: bytes) -> None:
    with attacked.connect() as client:
        client.sendall(POST + head)
        assert status_of(read_all(client)) == 400


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00" * 100_000,
    ],
)
def test_what_is_not_http_is_closed(attacked: Attacked, data: bytes) -> None:
    with attacked.connect() as client:
        send_all(client, data)
        assert status_of(read_all(client)) in (400, 404, 405)


def test_a_body_shorter_than_announced_does_not_hold_the_connection(attacked: Attacked) -> None:
    with attacked.connect() as client:
        client.sendall(POST + b"Content-Length: 50000\r\n\r\nshort")
        client.shutdown(socket.SHUT_WR)
        read_all(client)
    until(lambda: attacked.connections == 0)


def test_a_body_of_ten_gigabytes_as_announced_is_refused(attacked: Attacked) -> None:
    with attacked.connect() as client:
        client.sendall(POST + b"Content-Length: 10000000000\r\n\r\n")
        assert send_all(client, b"x" * 50_000_000) < 20_000_000
        assert attacked.answers_others()
        assert status_of(read_all(client)) == 413


def test_a_body_longer_than_announced_is_not_part_of_it(attacked: Attacked) -> None:
    with attacked.connect() as client:
        client.sendall(POST + b"Content-Length: 2\r\n\r\nhi and this is not HTTP\r\n\r\n")
        assert b"200 OK" not in read_all(client)


def test_a_flood_of_pipelined_requests_is_cut_off(attacked: Attacked) -> None:
    with attacked.connect() as client:
        send_all(client, b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000)
        assert attacked.answers_others()
        read_all(client)
        until(lambda: attacked.connections == 0, 5)
    assert attacked.server.refusals.counts["too many pipelined requests"] > 0


def test_a_few_pipelined_requests_are_answered_in_order(attacked: Attacked) -> None:
    with attacked.connect() as client:
        client.sendall((GET + b"\r\n") * 5 + GET + b"Connection: close\r\n\r\n")
        assert read_all(client).count(b"200 OK") == 6


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"nonsense"])
def test_an_upgrade_is_answered_as_plain_http_and_nothing_else_is_read(attacked: Attacked, protocol: bytes) -> None:
    with attacked.connect() as client:
        upgrade = b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\nSec-WebSocket-Key: x\r\n\r\n"
        client.sendall(GET + upgrade + b"\x81\x05hello" + GET + b"\r\n")
        answer = read_all(client)
    assert status_of(answer) == 200
    assert answer.count(b"HTTP/1.1") == 1


def test_the_number_of_connections_is_bounded(attacked: Attacked) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(attacked.connect()) for _ in range(SETTINGS.max_connections)]
        until(lambda: attacked.connections == SETTINGS.max_connections)
        for _ in range(100):
            with attacked.connect() as further:
                assert status_of(read_all(further)) == 503
        assert attacked.connections <= SETTINGS.max_connections + 1
        idle[0].sendall(GET + b"\r\n")  # those that were let in are answered
        assert status_of(idle[0].recv(65_536)) == 200
        until(lambda: attacked.connections == 0, 5)  # and nobody holds the others for ever
    assert attacked.answers_others()


def test_thousands_of_connections_leave_the_gateway_answering(attacked: Attacked) -> None:
    for _ in range(3_000):
        with attacked.connect() as client:
            client.send(b"GET / HT")
    until(attacked.answers_others, 10)


@pytest.mark.parametrize("path", [b"/big", b"/stream"])
def test_a_client_that_never_reads_is_disconnected(attacked: Attacked, path: bytes) -> None:
    with attacked.connect(receive_buffer=4096) as client:
        client.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: attacked.connections == 1)
        until(lambda: attacked.connections == 0, 8 * TIMEOUT)
    until(lambda: attacked.streams.open == 0)
    assert attacked.server.refusals.counts["answer not read"] > 0


def test_a_client_that_never_reads_the_last_answer_is_disconnected(attacked: Attacked) -> None:
    with attacked.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        until(lambda: attacked.connections == 1)
        until(lambda: attacked.connections == 0, 8 * TIMEOUT)


def test_a_client_that_reads_a_byte_now_and_then_is_disconnected(attacked: Attacked) -> None:
    with attacked.connect(receive_buffer=4096) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while attacked.connections and time.monotonic() - began < 10 * TIMEOUT:
                client.recv(1)
                time.sleep(0.05)
        assert time.monotonic() - began < 10 * TIMEOUT


def test_a_slow_client_that_keeps_reading_gets_all_of_a_large_answer(attacked: Attacked) -> None:
    """Over several times the timeout, at some MB a second."""
    taken, began = 0, time.monotonic()
    with attacked.connect(receive_buffer=65_536) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while data := client.recv(1_000_000):
            taken += len(data)
            time.sleep(len(data) / 12_000_000)
    assert taken > BIG
    assert time.monotonic() - began > 2 * TIMEOUT


def test_a_flood_of_invalid_requests_does_not_flood_the_log(
    attacked: Attacked, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with caplog.at_level(logging.WARNING):
        for data in [b"nonsense\r\n\r\n", GET + b"a: b\r\n" * 300 + b"\r\n", upgrade] * 30:
            with attacked.connect() as client:
                client.sendall(data)
                assert read_all(client)
    assert len(caplog.records) <= 3


def test_a_client_that_leaves_within_its_body_is_not_an_error_of_the_gateway(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, attacked: Attacked
) -> None:
    """No 500, no traceback in the log, and no pull that waits for an edit."""
    store = EditStore.open(str(tmp_path / "copydesk.db"))
    with serving(app_of(store, Scripted("a"), config=SETTINGS), SETTINGS) as (server, port):
        body = b'{"model": "copydesk", "messages": ['
        for path in (b"/v1/chat/completions", b"/v1/edits", b"/write/cost", b"/sign-in"):
            for leave in ("reset", "slow"):
                with socket.create_connection(("127.0.0.1", port)) as client:
                    head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    client.sendall(head + b"Content-Length: 500\r\n\r\n" + body)
                    if leave == "slow":
                        assert status_of(read_all(client)) in (400, 404, 408, 415)
        until(lambda: not server.server_state.tasks)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert ask(client).status_code == 200
            assert client.get("/v1/ensemble").json()["rounds"] == 1
    store.close()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_serve_has_the_limits(tmp_path: Path) -> None:
    """`copydesk serve` itself, with its flags."""
    options = ["--store", tmp_path / "copydesk.db", "--port", "0", "--client-timeout", "1", "--max-connections", "20"]
    command = Command("serve", "--json", "--policy", "a=a@http://127.0.0.1:9/v1", *options)
    try:
        until(lambda: command.out.strip() or command.code is not None, 60)
        url = json.loads(command.out)["url"]
        port = int(url.rpartition(":")[2])
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 15)) for _ in range(30)]
            send_head(clients[0], "one header of 100 MB")
            assert status_of(read_all(clients[0])) == 431
            assert status_of(read_all(clients[29])) == 503
            assert read_all(clients[1]) == b""
        assert httpx.get(f"{url}/healthz").status_code == 200
    finally:
        command.kill()
    assert command.err.count("\n") <= 3


def test_the_limit_of_open_files_is_raised_to_what_the_connections_take() -> None:
    code = (
        "import resource as r\n"
        "from copydesk.gateway import server\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (100, r.getrlimit(r.RLIMIT_NOFILE)[1]))\n"
        "server._raise_file_limit(300)\n"
        "assert r.getrlimit(r.RLIMIT_NOFILE)[0] >= 300 + 100\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (100, 200))\n"
        "server._raise_file_limit(300)\n"
        "assert r.getrlimit(r.RLIMIT_NOFILE)[0] == 200"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ulimit -n" in done.stderr


HOOKS = {
    HttpToolsProtocol: [
        *("connection_made", "data_received", "resume_writing", "on_message_begin", "on_url", "on_header"),
        *("on_headers_complete", "on_body", "on_message_complete", "_unset_keepalive_if_required"),
    ],
    uvicorn.Server: ["startup", "on_tick"],
}


def test_uvicorn_has_the_hooks_that_the_limits_override() -> None:
    """A failure names what changed: fix gateway/connections.py for the new release, or lower the bound on uvicorn."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    bounds = next(line for line in project["optional-dependencies"]["serve"] if line.startswith("uvicorn"))
    assert "<" in bounds, "uvicorn needs an upper bound in pyproject.toml: its protocol has no public hooks"
    where = f"of uvicorn {version('uvicorn')}, which gateway/connections.py depends on, is gone"
    for owner, names in HOOKS.items():
        for name in names:
            assert callable(getattr(owner, name, None)), f"{owner.__name__}.{name} {where}"
    protocol = HttpToolsProtocol.__init__.__code__.co_names
    for name in ("parser", "transport", "flow", "pipeline", "cycle", "connections", "loop", "headers"):
        assert name in protocol, f"HttpToolsProtocol.{name} {where}"
    cycle = RequestResponseCycle.__init__.__code__.co_names
    for name in ("disconnected", "message_event", "response_started", "response_complete", "keep_alive"):
        assert name in cycle, f"RequestResponseCycle.{name} {where}"
