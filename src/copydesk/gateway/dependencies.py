"""FastAPI dependencies of the routes: the gateway's state, and an authenticated caller."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from copydesk.gateway.auth import Caller
from copydesk.gateway.state import GatewayState


async def get_gateway_state(request: Request) -> GatewayState:
    """A dependency: the running gateway's state. Asynchronous, since FastAPI runs other dependencies in a thread."""
    return lookup_gateway_state(request)


def lookup_gateway_state(request: Request) -> GatewayState:
    """The running gateway's state."""
    state: GatewayState = request.app.state.gateway
    return state


def require_scope(*scopes: str) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, whose key must have these scopes."""

    async def caller(request: Request) -> Caller:
        return await lookup_gateway_state(request).authenticator.authenticate(request, *scopes)

    return caller
