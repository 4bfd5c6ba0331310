"""A store and a running gateway for the tests of its routes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from tests.support.gateways import Scripted, app_of, running

from copydesk.store import EditStore

Serve = Callable[..., httpx.Client]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EditStore]:
    opened = EditStore.open(str(tmp_path / "copydesk.db"))
    yield opened
    opened.close()


@pytest.fixture
def serve(store: EditStore) -> Iterator[Serve]:
    """Starts a gateway of the given policies on the store; gives a client of it."""
    with ExitStack() as stack:

        def start(*policies: Scripted, **more) -> httpx.Client:
            url = stack.enter_context(running(app_of(store, *policies, **more)))
            return stack.enter_context(httpx.Client(base_url=url, timeout=30))

        yield start
