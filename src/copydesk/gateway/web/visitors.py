"""Who looks at a page."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from copydesk.gateway.auth import Caller
from copydesk.gateway.dependencies import lookup_gateway_state
from copydesk.gateway.errors import ApiError


class SignInRequired(Exception):
    """Nobody is signed in, and a key is needed."""


def require_signed_in(*scopes: str) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency as `allowed`, for pages: who is not signed in is asked to."""

    async def caller(request: Request) -> Caller:
        try:
            found = [await lookup_gateway_state(request).authenticator.authenticate(request, scope) for scope in scopes]
        except ApiError as fault:
            if fault.status == 401:
                raise SignInRequired from None
            raise
        return found[0]

    return caller
