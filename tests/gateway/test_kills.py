"""Under load from several clients a gateway is killed again and again at random moments, and nothing is lost."""

import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.support.databases import new_database
from tests.support.gateways import running, until
from tests.support.processes import Command

from copydesk.cli.ensemble import compare_with_gateway
from copydesk.ensemble import Ledger, verify_log
from copydesk.store import EditStore, tables
from copydesk.store.events import read_events

pytestmark = pytest.mark.kill

KILLS = {"sqlite": 20, "postgresql": 6, "two gateways on one postgresql": 6}
CLIENTS = 4


async def answer(request: Request) -> JSONResponse:
    body = await request.json()
    message = {"role": "assistant", "content": f"{body['model']} on {body['messages'][0]['content']}"}
    return JSONResponse({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with running(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as url:
        yield f"{url}/v1"


class Gateway:
    """A gateway in a process of its own, on a port that stays the same."""

    def __init__(self, store: str, upstream: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        arms = [word for name in "abc" for word in ("--policy", f"{name}={name}@{upstream}")]
        options = ["--store", store, "--port", str(port), "--rule", "thompson", "--tokenizer", "embedded"]
        self._words = ["serve", *options, *arms]
        self.start()

    def start(self) -> None:
        self.process = Command(*self._words)

    def ready(self) -> bool:
        assert self.process.code is None, self.process.err
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        self.process.kill()


@dataclass
class Crowd:
    """Clients that ask and edit without a pause, and remember what was acknowledged."""

    gateways: list[Gateway]
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    stopping: bool = False

    def run(self, who: int) -> None:
        luck = random.Random(who)
        while not self.stopping:
            try:
                with httpx.Client(base_url=luck.choice(self.gateways).url, timeout=10) as client:
                    self._round(client, luck, f"{who}-{luck.random()}")
            except httpx.HTTPError:
                self.broken += 1
                time.sleep(0.02)

    def _round(self, client: httpx.Client, luck: random.Random, text: str) -> None:
        for _ in range(20):
            time.sleep(0.03)  # steady, not as fast as it goes: every check reads the whole log
            body = {"model": "copydesk", "user": f"u{luck.randrange(3)}"}
            asked = client.post("/v1/chat/completions", json=body | {"messages": [{"role": "user", "content": text}]})
            if asked.status_code != 200:
                self.refused[asked.status_code] += 1
                continue
            name = asked.json()["id"]
            for i in range(luck.choice([0, 1, 1, 2])):  # some edits never come, some are revised
                edit = f"{text} edited {i}"
                for _ in range(luck.choice([1, 2])):  # and some are sent twice
                    posted = client.post("/v1/edits", json={"completion_id": name, "edit": edit})
                    if posted.status_code == 200:
                        self.acknowledged.append((posted.json()["id"], name, edit))
                    else:
                        self.refused[posted.status_code] += 1


def check(store: EditStore, gateway: Gateway, crowd: Crowd) -> None:
    """Every edit acknowledged before now is there once, and the live ensemble is what the log makes of it."""
    acknowledged = list(crowd.acknowledged)
    live = httpx.get(f"{gateway.url}/v1/ensemble", timeout=30).json()
    with store.begin_read() as connection:
        rebuilt = Ledger().fold(read_events(connection, until=live["seq"]))
        rows = connection.execute(select(tables.edits.c.id, tables.edits.c.completion_id, tables.edits.c.edit)).all()
    found = Counter(tuple(row) for row in rows)
    assert all(found[one] == 1 for one in acknowledged)
    assert len({edit_id for edit_id, _, _ in found}) == len(rows)
    assert compare_with_gateway(rebuilt, live) == []


def survive(store_url: str, upstream: str, number: int, kills: int) -> Crowd:
    luck = random.Random(7)
    with ExitStack() as stack:
        gateways = [Gateway(store_url, upstream) for _ in range(number)]
        for gateway in gateways:
            stack.callback(gateway.kill)
            until(gateway.ready, 60)
        store = EditStore.open(store_url)
        stack.callback(store.close)
        crowd = Crowd(gateways)
        threads = [threading.Thread(target=crowd.run, args=(who,)) for who in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(kills):
                before = len(crowd.acknowledged)
                until(lambda before=before: len(crowd.acknowledged) > before, 60)
                time.sleep(luck.uniform(0, 0.3))
                gateway = luck.choice(gateways)
                gateway.kill()
                gateway.start()
                until(gateway.ready, 60)
                check(store, gateway, crowd)
        finally:
            crowd.stopping = True
            for thread in threads:
                thread.join()
        for gateway in gateways:
            check(store, gateway, crowd)
        with store.begin_read() as connection:
            assert verify_log(read_events(connection)).errors == []  # every choice can be made again
        return crowd


@pytest.mark.parametrize("case", list(KILLS))
def test_nothing_acknowledged_is_lost_when_it_is_killed_again_and_again(
    case: str, upstream: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = None if case == "sqlite" else request.getfixturevalue("postgres")
    url = f"sqlite:///{tmp_path / 'copydesk.db'}" if server is None else new_database(server)
    crowd = survive(url, upstream, 2 if case.startswith("two") else 1, KILLS[case])
    assert len(crowd.acknowledged) > KILLS[case]
    assert crowd.broken > 0  # the kills were felt
    assert set(crowd.refused) <= {503}


def test_on_sigterm_it_answers_the_running_requests(upstream: str, tmp_path: Path) -> None:
    """SIGTERM, as an orchestrator sends it: no answer under way is cut off, and the exit code is 0."""

    async def slowly(request: Request) -> JSONResponse:
        import asyncio

        asked.set()
        await asyncio.sleep(1.0)
        return await answer(request)

    asked = threading.Event()
    with running(Starlette(routes=[Route("/v1/chat/completions", slowly, methods=["POST"])])) as url:
        gateway = Gateway(str(tmp_path / "copydesk.db"), f"{url}/v1")
        until(gateway.ready, 60)
        answers = []
        body = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}
        ask = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=30))
        )
        ask.start()
        assert asked.wait(30)
        gateway.process.send(signal.SIGTERM)
        ask.join()
        assert gateway.process.wait(30) == 0
        assert answers[0].status_code == 200
