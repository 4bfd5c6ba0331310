"""How the gateway's policies answer: in this process, or through an OpenAI-compatible server."""

from copydesk.gateway.backends.base import BackendError, PolicyBackend

__all__ = ["BackendError", "PolicyBackend"]
