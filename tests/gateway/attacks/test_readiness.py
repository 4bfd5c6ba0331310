"""`/readyz` fails when the disk is full, the store is locked or no policy answers; `/healthz` does not."""

import asyncio
import json
import resource
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.gateways import SETTINGS, Scripted, app_of, ask, running, until
from tests.support.processes import Command

from copydesk.gateway.backends.base import BackendError
from copydesk.gateway.routes import health
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key

NOT_WRITABLE = {"status": "not ready", "store": False, "policies": True}
NO_POLICY = {"status": "not ready", "store": True, "policies": False}
READY = {"status": "ok", "store": True, "policies": True}


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_RESULT_SECONDS", 0.05)
    monkeypatch.setattr(health, "_CHECK_SECONDS", 1.0)


def probe(client: httpx.Client, path: str = "/readyz") -> tuple[int, Any]:
    answer = client.get(path)
    return answer.status_code, answer.json()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[Command, httpx.Client]]:
    """`copydesk serve` in a process of its own, with a store that is in use."""
    command = Command("serve", "--json", "--store", tmp_path / "copydesk.db", "--port", "0")
    until(lambda: command.out.strip() or command.code is not None, 60)
    with httpx.Client(base_url=json.loads(command.out)["url"], timeout=60) as client:
        yield command, client
    command.kill()


def wait_for_result() -> None:
    time.sleep(2.2)  # until a process of its own checks again


def test_a_full_disk_makes_the_gateway_not_ready_and_it_recovers(gateway: tuple[Command, httpx.Client]) -> None:
    """No file can grow, as on a full disk; SQLite could still write to where its log has been before."""
    command, client = gateway
    for _ in range(3):
        assert ask(client, max_tokens=5).status_code == 200
    assert probe(client) == (200, READY)
    unlimited = resource.prlimit(command.pid, resource.RLIMIT_FSIZE)
    for limit in (150_000, 0):  # a file that is larger already can still be written to, up to this
        resource.prlimit(command.pid, resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        wait_for_result()
        status, found = probe(client)
        assert (status, found["store"]) == (503, False)
        assert probe(client, "/healthz") == (200, {"status": "ok"})
    resource.prlimit(command.pid, resource.RLIMIT_FSIZE, unlimited)
    until(lambda: probe(client) == (200, READY), 30)
    assert ask(client, max_tokens=5).status_code == 200


def test_a_full_file_system_makes_the_gateway_not_ready(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        store = EditStore.open(str(folder / "copydesk.db"))
        with running(app_of(store, Scripted("a"))) as url, httpx.Client(base_url=url, timeout=60) as client:
            assert probe(client) == (200, READY)
            with (folder / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(b"x" * 4096)
            until(lambda: probe(client)[1]["store"] is False)
            assert probe(client, "/healthz") == (200, {"status": "ok"})
            (folder / "ballast").unlink()
            until(lambda: probe(client) == (200, READY))
            assert sorted(file.name.partition("-")[0] for file in folder.iterdir()) == ["copydesk.db"] * 3
        store.close()
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_locked_store_makes_the_gateway_not_ready_within_a_bounded_time(tmp_path: Path) -> None:
    """Also while many probes wait; the lock is held longer than any of them."""
    path = tmp_path / "copydesk.db"
    store = EditStore.open(str(path))
    with running(app_of(store, Scripted("a"))) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert probe(client) == (200, READY)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(0.1)
        for _ in range(5):
            began = time.monotonic()
            status, found = probe(client)
            assert (status, found["store"]) == (503, False)
            assert time.monotonic() - began < 3
        began = time.monotonic()
        assert probe(client, "/healthz") == (200, {"status": "ok"})
        assert time.monotonic() - began < 0.5
        other.execute("ROLLBACK")
        other.close()
        until(lambda: probe(client) == (200, READY))
    store.close()


class Checked(Scripted):
    """A policy whose `check` does as its script says, and counts."""

    def __init__(self, name: str, outcome: BaseException | float | None = None) -> None:
        super().__init__(name)
        self.outcome = outcome
        self.checked = 0

    async def check(self) -> None:
        self.checked += 1
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        await asyncio.sleep(self.outcome or 0.0)


@pytest.mark.parametrize("outcome", [BackendError(502, "down"), RuntimeError("unexpected"), 60.0])
def test_without_a_policy_that_answers_it_is_not_ready(serve, outcome: BaseException | float) -> None:
    broken, also = Checked("a", outcome), Checked("b", outcome)
    client = serve(broken, also)
    began = time.monotonic()
    assert probe(client) == (503, NO_POLICY)
    assert time.monotonic() - began < 3
    assert broken.checked == also.checked == 1


def test_one_policy_that_answers_is_enough(serve) -> None:
    policies = [Checked(name, BackendError(502, "down")) for name in "abcdefghijk"]
    client = serve(*policies, Checked("x"))
    assert probe(client) == (200, READY)


def test_a_policy_in_cooldown_does_not_count(serve) -> None:
    failing = Scripted("a", lambda request: BackendError(502, "down"))
    client = serve(failing, config=SETTINGS.replace(cooldown=60.0))
    assert probe(client) == (200, READY)
    assert ask(client).status_code == 502
    until(lambda: probe(client) == (503, NO_POLICY))


def test_a_flood_of_probes_checks_once(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_RESULT_SECONDS", 2.0)
    policy = Checked("a", 0.1)
    client = serve(policy)
    for _ in range(100):
        assert probe(client) == (200, READY)
    assert policy.checked <= 2


def test_probes_need_no_key_and_no_known_host_and_tell_no_names(serve, store: EditStore) -> None:
    with store.begin_write() as tx:
        create_key(tx.connection, "k", tenant="acme")
    client = serve(Scripted("secret-name"))
    for path in ("/healthz", "/readyz"):
        answer = client.get(path, headers={"host": "10.1.2.3:8040"})
        assert answer.status_code == 200
        assert "secret" not in answer.text


def test_liveness_touches_no_store(serve, store: EditStore) -> None:
    """Not even to find out whether a key is needed."""
    client = serve(Scripted("a"))
    with store.begin_write() as tx:
        tx.connection.exec_driver_sql("ALTER TABLE keys RENAME TO gone")
        tx.connection.exec_driver_sql("ALTER TABLE clock RENAME TO gone_too")
    assert probe(client, "/healthz") == (200, {"status": "ok"})
    assert client.get("/healthz", headers={"host": "10.1.2.3"}).json() == {"status": "ok"}
    assert probe(client)[0] == 503
