"""The gateway: an OpenAI-compatible server that collects edits and chooses policies with the late ensemble."""

from typing import TYPE_CHECKING

__all__ = [
    "GatewayConfig",
    "create_app",
    "serve",
]

if TYPE_CHECKING:
    from copydesk.gateway.app import create_app
    from copydesk.gateway.config import GatewayConfig
    from copydesk.gateway.server import serve
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.gateway.app": ["create_app"],
            "copydesk.gateway.config": ["GatewayConfig"],
            "copydesk.gateway.server": ["serve"],
        },
    )
