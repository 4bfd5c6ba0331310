"""What routes are given: the desk, and a caller who may do what they ask for."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from copydesk.gateway.access import Caller
from copydesk.gateway.desk import Desk


async def desk_of(request: Request) -> Desk:
    """A dependency: the running gateway's desk. (Asynchronous, since others are run in a thread.)"""
    return desk_behind(request)


def desk_behind(request: Request) -> Desk:
    """The running gateway's desk."""
    desk: Desk = request.app.state.desk
    return desk


def allowed(scope: str) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, once it is known that their key has this scope."""

    async def caller(request: Request) -> Caller:
        return await desk_behind(request).authenticator.authenticate(request, scope)

    return caller
