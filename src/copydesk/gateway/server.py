"""Run the gateway on an address until it is stopped."""

import asyncio
import contextlib
import gc
import ipaddress
import socket
from collections.abc import Callable, Mapping

import uvicorn

from copydesk.ensemble.config import EnsembleConfig
from copydesk.errors import InputError
from copydesk.gateway.app import create_app
from copydesk.gateway.config import GatewayConfig
from copydesk.store import EditStore
from copydesk.store.api_keys import has_active_key

_SHUTDOWN_GRACE_SECONDS = 30  # seconds for running answers after the signal to stop


def serve(
    store: EditStore,
    arms: Mapping[str, str],
    config: GatewayConfig,
    ensemble: EnsembleConfig,
    *,
    host: str,
    port: int,
    on_ready: Callable[[str, list[str]], None],
) -> None:
    """Serve until SIGINT or SIGTERM, then finish the running requests and return.

    Args:
        store: the log.
        arms: policies to open besides those in the store.
        config: the gateway's settings.
        ensemble: the ensemble's settings.
        host: the address to listen on.
        port: the port; 0 for any free one.
        on_ready: called with the gateway's address and the policies' names once it answers.

    Raises:
        InputError: the address is taken or open to others without a key, or a policy cannot be opened.
    """
    with store.begin_read() as connection:
        check_listen_address(host, has_active_key(connection))
    with contextlib.closing(_listen(host, port)) as listener, asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_run_server(store, arms, config, ensemble, listener, on_ready))


def check_listen_address(host: str, has_key: bool) -> None:
    """Check that the gateway may listen on an address.

    Raises:
        InputError: other machines can reach it, and there is no API key.
    """
    if has_key or host == "localhost":
        return
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    raise InputError(
        f"--host {host}: other machines could read and write the log; create a key first with "
        "`copydesk keys create`, or listen on 127.0.0.1"
    )


async def _run_server(
    store: EditStore,
    arms: Mapping[str, str],
    settings: GatewayConfig,
    ensemble: EnsembleConfig,
    listener: socket.socket,
    ready: Callable[[str, list[str]], None],
) -> None:
    app = create_app(store, arms, settings, ensemble)
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,  # `copydesk serve` formats these records as it does its own
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_GRACE_SECONDS,
        server_header=False,
    )
    server = _NotifyingServer(config)
    async with app.router.lifespan_context(app):
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        gc.freeze()  # long-lived objects: scanning them at every collection would delay answers
        server.on_start = lambda: ready(f"http://{shown}:{port}", sorted(app.state.gateway.policies))
        await server.serve(sockets=[listener])


class _NotifyingServer(uvicorn.Server):
    """Calls `on_start` once it answers."""

    on_start: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        self.on_start()


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's event loop if it is installed (it does not exist for Windows)."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. Without it an answer's body waits for its head to be acknowledged: 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as exc:
        listener.close()
        reason = getattr(exc, "strerror", None) or str(exc)
        raise InputError(f"--port {port}: cannot listen on {host} ({reason.lower()}); choose another") from None
    listener.setblocking(False)
    return listener
