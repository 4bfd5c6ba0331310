"""Backends of the gateway's policies: models in this process, and models behind OpenAI-compatible servers."""

from copydesk.gateway.backends.base import BackendError, PolicyBackend

__all__ = ["BackendError", "PolicyBackend"]
