"""Running the gateway: on which address, with which policies, until it is told to stop."""

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

_SHUTDOWN_GRACE_SECONDS = 30  # seconds for answers under way when it is told to stop


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
    """Serve until SIGINT or SIGTERM, then answer what was asked and return.

    Args:
        store: where everything is logged.
        arms: policies to open, beside those the store has.
        config: of the gateway.
        ensemble: what the ensemble follows.
        host: the address to listen on.
        port: 0 for any that is free.
        on_ready: told the gateway's address and the policies' names once it answers.

    Raises:
        InputError: the address is taken or open to others without a key, or a policy cannot be opened.
    """
    with store.begin_read() as connection:
        check_listen_address(host, has_active_key(connection))
    with contextlib.closing(_listen(host, port)) as listener, asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_run_server(store, arms, config, ensemble, listener, on_ready))


def check_listen_address(host: str, has_key: bool) -> None:
    """Whether the gateway may listen there.

    Raises:
        InputError: others could reach it, and there is no key.
    """
    if has_key or host == "localhost":
        return
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    raise InputError(
        f"--host {host}: others could read and write the log there; make a key first with `copydesk keys create`, or "
        "listen on 127.0.0.1"
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
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SHUTDOWN_GRACE_SECONDS,
        server_header=False,
    )
    server = _NotifyingServer(config)
    async with app.router.lifespan_context(app):
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        gc.freeze()  # what is there now stays: looking through it again and again would hold up answers
        server.on_start = lambda: ready(f"http://{shown}:{port}", sorted(app.state.gateway.policies))
        await server.serve(sockets=[listener])


class _NotifyingServer(uvicorn.Server):
    """Says when it answers."""

    on_start: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.on_start()


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where there is one (there is none for Windows)."""
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
