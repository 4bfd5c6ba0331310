"""Run the gateway on an address until it is stopped."""

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Callable, Mapping

from copydesk.ensemble.config import EnsembleConfig
from copydesk.errors import InputError
from copydesk.gateway.app import create_app
from copydesk.gateway.auth import is_loopback
from copydesk.gateway.config import GatewayConfig
from copydesk.gateway.connections import build_server
from copydesk.store import EditStore
from copydesk.store.api_keys import has_active_key, has_had_key

logger = logging.getLogger(__name__)

_SPARE_FILES = 512  # open files besides the clients' connections: the store, upstream connections, models


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
        has_key, had_key = has_active_key(connection), has_had_key(connection)
    check_listen_address(host, has_key)
    if had_key and not has_key:
        logger.warning(
            "every request needs an API key, and all keys in %s are revoked; create one with `copydesk keys create`",
            store.name,
        )
    _raise_file_limit(config.max_connections)
    with contextlib.closing(_listen(host, port)) as listener, asyncio.Runner(loop_factory=_new_loop) as runner:
        address = listener.getsockname()[0]  # `localhost` is what the machine's configuration says it is
        check_listen_address(address, has_key)
        config = config.replace(require_key=config.require_key or not is_loopback(address))
        runner.run(_run_server(store, arms, config, ensemble, listener, on_ready))


def check_listen_address(host: str, has_key: bool) -> None:
    """Check that the gateway may listen on an address.

    Raises:
        InputError: other machines can reach it, and there is no active API key.
    """
    if not (has_key or host == "localhost" or is_loopback(host)):
        raise InputError(
            f"--host {host}: other machines could read and write the log, and no API key is active; create one first "
            "with `copydesk keys create`, or listen on 127.0.0.1"
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
    server = build_server(app, settings)
    async with app.router.lifespan_context(app):
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        gc.freeze()  # long-lived objects: scanning them at every collection would delay answers
        server.on_start = lambda: ready(f"http://{shown}:{port}", sorted(app.state.gateway.policies))
        await server.serve(sockets=[listener])


def _raise_file_limit(connections: int) -> None:
    """Let this process have as many files open as the connections take, as far as the system allows."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return
    wanted = connections + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft < wanted:
        logger.warning(
            "%d connections may take more open files than the %d this process may have; lower --max-connections or "
            "raise `ulimit -n` to %d",
            connections,
            soft,
            wanted,
        )


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
