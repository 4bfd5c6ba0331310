"""Authentication: API keys with scopes, tenants and users; which requests need no key; requests of other web sites."""

import asyncio
import ipaddress
import time
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from copydesk.gateway.errors import ApiError
from copydesk.store import EditStore
from copydesk.store.api_keys import (
    API_KEY_SCOPES,
    DEFAULT_TENANT,
    ApiKey,
    find_key,
    has_had_key,
    is_well_formed_key,
)
from copydesk.store.users import parse_scope

KEY_COOKIE = "copydesk_key"
"""The cookie with the API key of a person who signed in to the pages."""

_KEY_CACHE_SECONDS = 5.0  # seconds a looked-up key is cached, and a revoked one may still work
_MAX_UNKNOWN_KEYS = 1_000  # unknown keys remembered; more of them push out one another, never a real key

# Headers that proxies, tunnels and load balancers add; `_` counts as `-`.
_PROXY_HEADERS = frozenset({
    "forwarded", "via", "cdn-loop", "true-client-ip", "client-ip", "http-client-ip", "proxy-client-ip",
    "wl-proxy-client-ip", "x-client-ip", "x-real-ip", "x-remote-ip", "x-remote-addr", "x-cluster-client-ip",
    "incap-client-ip", "x-sucuri-clientip", "x-scheme", "x-url-scheme", "x-host", "x-nginx-proxy", "x-rewrite-url",
    "x-request-start", "front-end-https", "surrogate-capability",
})  # fmt: skip
_PROXY_PREFIXES = (
    "x-forwarded", "x-original-", "x-envoy-", "x-proxy", "x-ssl-", "x-azure-", "x-appengine-", "x-arr-", "x-amzn-",
    "x-amz-cf-", "x-akamai-", "x-varnish", "x-haproxy-", "x-traefik-", "x-vercel-", "x-nf-", "akamai-", "cf-",
    "fastly-", "fly-", "ngrok-", "tailscale-",
)  # fmt: skip
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Caller:
    """The caller of a request: their tenant, scopes and key."""

    tenant: str
    scopes: tuple[str, ...]
    key: ApiKey | None = None

    @property
    def key_id(self) -> str | None:
        """The id of the caller's API key; `None` without one."""
        return None if self.key is None else self.key.id

    @property
    def user(self) -> str | None:
        """The one user whom the key is for; `None` if it is for all."""
        return None if self.key is None else self.key.user

    def resolve_user(self, named: str | None) -> str | None:
        """The user of a request that names this user, or nobody.

        Raises:
            ApiError: 403 if the key is for another user.
        """
        if self.user is None or named in (None, self.user):
            return self.user if named is None else named
        raise ApiError(403, "this API key is for another user", code="wrong_user", param="user")

    def may_edit(self, tenant: str, user: str | None, key_id: str | None) -> bool:
        """Whether the caller may edit an answer; see `ApiKey.may_edit`."""
        return tenant == self.tenant if self.key is None else self.key.may_edit(tenant, user, key_id)

    def may_see(self, audience: str | None) -> bool:
        """Whether the caller may know of a policy, given the scope of the users it is for.

        Policies for the users or groups of another tenant are hidden, also from keys with the scope `admin`; those for
        another user, from keys for one user.
        """
        if audience is None:
            return True
        whom = parse_scope(audience)
        if whom.get("tenant", DEFAULT_TENANT) != self.tenant:
            return False
        return self.user is None or whom.get("user", self.user) == self.user


_ANONYMOUS_CALLER = Caller(DEFAULT_TENANT, API_KEY_SCOPES)


class Authenticator:
    """Finds the caller of a request.

    A request without a key is accepted only if the store has never had a key, the gateway listens on this machine
    only, and the request was made on this machine, to one of its own names, through no proxy.

    Args:
        store: holds the keys.
        require_key: whether every request needs a key, also while the store has none.
        allowed_hosts: this machine's own names, as `Host` headers without a port.
        cors_origins: web sites whose pages may send requests without a key.
    """

    def __init__(
        self,
        store: EditStore,
        *,
        require_key: bool = False,
        allowed_hosts: tuple[str, ...] = (),
        cors_origins: tuple[str, ...] = (),
    ) -> None:
        self._store = store
        self._requires_key = require_key
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._cors_origins = cors_origins
        self._known_keys: dict[str, tuple[ApiKey, float]] = {}
        self._unknown_keys: dict[str, float] = {}

    async def authenticate(self, request: Request, *scopes: str) -> Caller:
        """Find the caller of a request, whose key must have all these scopes.

        Raises:
            ApiError: 401 without a valid key; 403 if the key lacks a scope, or a page of another site sent the request.
        """
        text, is_cookie = _read_presented_key(request)
        key = None if text is None else await self.find_key(text)
        if key is None:
            if await self.accepts_anonymous(request):
                # Clients that always send some key work with an open gateway.
                self._check_origin(request, self._cors_origins)
                return _ANONYMOUS_CALLER
            raise _make_unauthorized_error(text, await self.requires_key())
        if is_cookie:
            self._check_origin(request)
        for scope in scopes:
            if scope not in key.scopes:
                raise ApiError(403, f"this API key lacks the scope {scope!r}", code="missing_scope")
        return Caller(key.tenant, key.scopes, key)

    async def requires_key(self) -> bool:
        """Whether every request needs an API key. Once this is true it stays so."""
        # While it is false the store is read each time: a key may be created at any moment, by another process.
        if not self._requires_key:
            self._requires_key = await asyncio.to_thread(self._has_had_key)
        return self._requires_key

    async def accepts_anonymous(self, connection: HTTPConnection) -> bool:
        """Whether a request needs no API key."""
        return self.is_local(connection.scope) and not await self.requires_key()

    def is_local(self, scope: Scope) -> bool:
        """Whether a request was made on this machine, to one of its own names, through no proxy.

        HTTP/1.0 is what some proxies speak that add no header of their own.
        """
        client = scope.get("client")
        if client is None or not is_loopback(client[0]) or scope.get("http_version") == "1.0":
            return False
        headers = Headers(scope=scope)
        return self.is_own_host(headers) and not any(map(_is_proxy_header, headers.keys()))

    def is_own_host(self, headers: Headers) -> bool:
        """Whether a request is addressed to one of this machine's own names, exactly once."""
        hosts = headers.getlist("host")
        return len(hosts) == 1 and _strip_port(hosts[0].lower()) in self._allowed_hosts

    async def find_key(self, text: str) -> ApiKey | None:
        """The active key with this text; may be up to five seconds out of date."""
        if not is_well_formed_key(text):
            return None
        now = time.monotonic()
        known = self._known_keys.get(text)
        if known is not None and now < known[1]:
            return known[0]
        if now < self._unknown_keys.get(text, 0.0):
            return None
        key = await asyncio.to_thread(self._load_key, text)
        until = time.monotonic() + _KEY_CACHE_SECONDS
        if key is not None:
            self._known_keys[text] = (key, until)
            return key
        self._known_keys.pop(text, None)  # it was revoked
        self._unknown_keys.pop(text, None)
        self._unknown_keys[text] = until
        if len(self._unknown_keys) > _MAX_UNKNOWN_KEYS:
            del self._unknown_keys[next(iter(self._unknown_keys))]  # the oldest
        return None

    def _check_origin(self, request: Request, allowed: tuple[str, ...] = ()) -> None:
        if request.method not in _SAFE_METHODS and not is_same_origin(request.headers, allowed):
            raise ApiError(403, "this request was sent by a page of another site", code="cross_origin")

    def _has_had_key(self) -> bool:
        with self._store.begin_read() as connection:
            return has_had_key(connection)

    def _load_key(self, text: str) -> ApiKey | None:
        with self._store.begin_read() as connection:
            return find_key(connection, text)


def is_loopback(host: str) -> bool:
    """Whether an IP address belongs to this machine's loopback interface."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback if mapped is None else mapped.is_loopback


def is_same_origin(headers: Headers, allowed: tuple[str, ...] = ()) -> bool:
    """Whether a request was sent by a page of this gateway, of an allowed origin, or by no page.

    The scheme may differ: a proxy in front may add TLS.
    """
    origins, hosts = headers.getlist("origin"), headers.getlist("host")
    return "*" in allowed or all(
        origin in allowed or (len(hosts) == 1 and _is_origin_of(origin, hosts[0].lower())) for origin in origins
    )


def _is_origin_of(origin: str, host: str) -> bool:
    scheme, separator, place = origin.lower().partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme)
    if not separator or not place or default is None:
        return False
    return place.removesuffix(default) == host.removesuffix(default)


def _is_proxy_header(name: str) -> bool:
    name = name.replace("_", "-")
    return name in _PROXY_HEADERS or name.startswith(_PROXY_PREFIXES)


def _strip_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _read_presented_key(request: Request) -> tuple[str | None, bool]:
    """The text of the API key of a request, and whether it is that of the cookie."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and text.strip():
        return text.strip(), False
    return request.cookies.get(KEY_COOKIE), True


def _make_unauthorized_error(text: str | None, required: bool) -> ApiError:
    code = "missing_api_key"
    if not required:
        message = "a request through a proxy or from another machine needs an API key; see `copydesk keys create`"
    elif text is None:
        message = "give an API key: Authorization: Bearer ck-..."
    else:
        message, code = "this API key is unknown or revoked", "invalid_api_key"
    return ApiError(401, message, code=code, headers={"WWW-Authenticate": "Bearer"})
