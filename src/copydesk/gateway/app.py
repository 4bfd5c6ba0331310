"""The gateway as a FastAPI application: state, routes, pages and middleware."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from copydesk.ensemble.config import EnsembleConfig
from copydesk.gateway.backends.open import BackendOpener
from copydesk.gateway.config import GatewayConfig
from copydesk.gateway.errors import ERROR_DESCRIPTIONS, ErrorBody, add_exception_handlers
from copydesk.gateway.middleware import RequestLimits
from copydesk.gateway.routes import completions, edits, health
from copydesk.gateway.routes import policies as arm_routes
from copydesk.gateway.schemas import build_request_schemas
from copydesk.gateway.state import GatewayState, PolicyOpener
from copydesk.gateway.web import add_pages
from copydesk.policy_spec import UpstreamKeys
from copydesk.store import EditStore

_DESCRIPTION = """
Serves policies behind OpenAI's API, logs the edits people make to their answers, and lets a bandit find the policy that
people edit least.
"""


class _GatewayApp(FastAPI):
    """FastAPI whose OpenAPI document omits FastAPI's own answer to invalid requests: the gateway has another."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, built once."""
        if not self.openapi_schema:
            document = super().openapi()
            for methods in document["paths"].values():
                for operation in methods.values():
                    operation["responses"].pop("422", None)
            found = document["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):
                found.pop(name, None)
            found |= build_request_schemas()
            self.openapi_schema = document
        return self.openapi_schema


def create_app(
    store: EditStore,
    arms: Mapping[str, str],
    config: GatewayConfig | None = None,
    ensemble: EnsembleConfig | None = None,
    opener: PolicyOpener | None = None,
) -> FastAPI:
    """Create the gateway as an ASGI application.

    Args:
        store: the log; it stays open when the application ends.
        arms: policies to open and offer besides those in the store: name to spec, as `BackendOpener` takes it.
        config: all other settings.
        ensemble: the ensemble's settings; its metric is that of `config.cost`.
        opener: opens policies; default: a `BackendOpener`.

    Raises:
        InputError: as `UpstreamKeys`; and at start-up, as `GatewayState.start`.
    """
    config = config or GatewayConfig()
    keys = UpstreamKeys(arms, config.upstreams, os.environ)
    state = GatewayState(store, config, opener or BackendOpener(config, keys), keys)
    follows = (ensemble or EnsembleConfig()).replace(metric=state.metric, cost=asdict(config.cost))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await state.start(arms, follows)
            yield
        finally:
            await state.close()

    app = _GatewayApp(
        title="Copydesk",
        version=version("copydesk"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={status: {"model": ErrorBody, "description": words} for status, words in ERROR_DESCRIPTIONS.items()},
    )
    app.state.gateway = state
    add_exception_handlers(app)
    for router in (completions.router, edits.router, arm_routes.router, health.router):
        app.include_router(router)
    add_pages(app)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["x-copydesk-completion", "x-copydesk-policy", "x-copydesk-propensity"],
        )
    app.add_middleware(
        RequestLimits,
        metrics=state.metrics,
        max_body=config.max_body,
        allowed_hosts=config.allowed_hosts,
        requires_key=state.authenticator.requires_key,
    )
    return app
