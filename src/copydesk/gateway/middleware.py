"""ASGI middleware: request size, host and content-type checks; security headers; Prometheus metrics."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from copydesk.gateway.auth import Authenticator
from copydesk.gateway.errors import make_error_response

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_COST_BUCKETS = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3)


PERSONAL_LABEL = "personal"
"""The label of all policies that are for some users only: their names are for these users' tenant."""


class GatewayMetrics:
    """The gateway's Prometheus metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: Any = {"registry": self.registry, "namespace": "copydesk"}
        self.requests = Counter("requests", "Requests answered.", ["route", "status"], **made)
        self.seconds = Histogram(
            "request_seconds", "Time to answer in full.", ["route"], buckets=_LATENCY_BUCKETS, **made
        )
        self.policy_seconds = Histogram(
            "policy_seconds", "Time a policy took to answer in full.", ["policy"], buckets=_LATENCY_BUCKETS, **made
        )
        self.failures = Counter("policy_failures", "Requests a policy failed to answer.", ["policy"], **made)
        self.tokens = Counter("tokens", "Tokens, as policies count them.", ["policy", "kind"], **made)
        self.costs = Histogram(
            "edit_cost", "Costs of edits, revisions included.", ["policy"], buckets=_COST_BUCKETS, **made
        )
        self.pulls = Gauge("arm_pulls", "Pulls of an arm, those pending included.", ["arm"], **made)
        self.pending = Gauge("arm_pending", "Pulls of an arm whose edit is awaited.", ["arm"], **made)
        self.mean_cost = Gauge("arm_mean_cost", "Mean cost of an arm's edits.", ["arm"], **made)
        self.available = Gauge("arm_available", "Whether an arm can be chosen now.", ["arm"], **made)

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = {
    "content-security-policy": _CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    # With `no-referrer` browsers would send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_PROBE_PATHS = ("/healthz", "/readyz")


class RequestLimits:
    """Refuses bodies that are too large, content types that a page of another site can send (CSRF), and, while no API
    key is needed, requests for other host names (DNS rebinding); counts and times all requests.

    Args:
        app: the application behind it.
        metrics: counts every request.
        max_body: the largest body, in bytes.
        authenticator: knows whether requests need a key, and the host names that are answered while they do not.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: GatewayMetrics,
        max_body: int,
        authenticator: Authenticator,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body = max_body
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            refusal = await self._check_request(scope, Headers(scope=scope))
            if refusal is not None:
                await make_error_response(*refusal)(scope, receive, send_guarded)
                return
            await self._app(scope, self._limit_body(receive), send_guarded)
        finally:
            # The route's pattern, not the path: paths are unbounded, and so would be the number of metrics.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)

    async def _check_request(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._max_body:
            return 413, f"the body is too large; at most {self._max_body} bytes are taken"
        if scope["path"] in _PROBE_PATHS:
            return None  # probes name the gateway by its address, and the answers hold no data
        if not self._authenticator.is_own_host(headers) and not await self._authenticator.requires_key():
            return 403, "without an API key the gateway answers to this machine's own names only, such as localhost"
        with_body = scope["method"] in ("POST", "PUT", "PATCH") and scope["path"].startswith("/v1/")
        if with_body and not is_json(headers):
            return 415, "send JSON, with Content-Type: application/json"
        return None

    def _limit_body(self, receive: Receive) -> Receive:
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_body:
                raise HTTPException(413, f"the body is too large; at most {self._max_body} bytes are taken")
            return message

        return limited


def is_json(headers: Headers) -> bool:
    """Whether the content type is JSON, which a page of another site cannot send without CORS."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
