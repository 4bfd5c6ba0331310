"""How the gateway's policies answer: in this process, or through an OpenAI-compatible server."""

from copydesk.gateway.backends.base import BackendError, Json, PolicyBackend

__all__ = ["BackendError", "Json", "PolicyBackend"]
