"""API-key authentication, scopes and tenants."""

import asyncio
import time
from dataclasses import dataclass

from fastapi import Request

from copydesk.gateway.errors import ApiError
from copydesk.store import EditStore
from copydesk.store.api_keys import API_KEY_SCOPES, DEFAULT_TENANT, ApiKey, find_key, has_active_key

KEY_COOKIE = "copydesk_key"
"""The cookie with the API key of a person who signed in to the pages."""

_KEY_CACHE_SECONDS = 5.0  # seconds a looked-up key is cached, and a revoked one may still work


@dataclass(frozen=True)
class Caller:
    """The caller of a request: their tenant and scopes."""

    tenant: str
    scopes: tuple[str, ...]
    key: ApiKey | None = None


_ANONYMOUS_CALLER = Caller(DEFAULT_TENANT, API_KEY_SCOPES)


class Authenticator:
    """Finds the caller of a request. While the store has no API key, every caller has every scope."""

    def __init__(self, store: EditStore) -> None:
        self._store = store
        self._key_cache: dict[str, tuple[ApiKey | None, float]] = {}
        self._requires_key: tuple[bool, float] = (False, 0.0)

    async def authenticate(self, request: Request, scope: str) -> Caller:
        """Find the caller of a request.

        Raises:
            ApiError: 401 without a valid key, 403 if the key lacks the scope.
        """
        text = _read_presented_key(request)
        if text is None:
            if await self.requires_key():
                raise ApiError(
                    401,
                    "give an API key: Authorization: Bearer ck-...",
                    code="missing_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            return _ANONYMOUS_CALLER
        key = await self._lookup_key(text)
        if key is None:
            if not await self.requires_key():
                return _ANONYMOUS_CALLER  # clients that always send a key work with an open gateway
            raise ApiError(
                401,
                "this API key is unknown or revoked",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if scope not in key.scopes:
            raise ApiError(403, f"this API key lacks the scope {scope!r}", code="missing_scope")
        return Caller(key.tenant, key.scopes, key)

    async def requires_key(self) -> bool:
        """Whether requests need an API key."""
        closed, until = self._requires_key
        if time.monotonic() >= until:
            closed = await asyncio.to_thread(self._has_any_key)
            self._requires_key = (closed, time.monotonic() + _KEY_CACHE_SECONDS)
        return closed

    async def _lookup_key(self, text: str) -> ApiKey | None:
        key, until = self._key_cache.get(text, (None, 0.0))
        if time.monotonic() >= until:
            key = await asyncio.to_thread(self._find_key, text)
            if len(self._key_cache) > 10_000:
                self._key_cache.clear()  # somebody is guessing keys
            self._key_cache[text] = (key, time.monotonic() + _KEY_CACHE_SECONDS)
        return key

    def _has_any_key(self) -> bool:
        with self._store.begin_read() as connection:
            return has_active_key(connection)

    def _find_key(self, text: str) -> ApiKey | None:
        with self._store.begin_read() as connection:
            return find_key(connection, text)


def _read_presented_key(request: Request) -> str | None:
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and text.strip():
        return text.strip()
    return request.cookies.get(KEY_COOKIE)
