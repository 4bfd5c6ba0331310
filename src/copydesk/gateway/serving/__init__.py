"""How the gateway's policies answer: in this process, or through an OpenAI-compatible server."""

from copydesk.gateway.serving.policy import Json, PolicyFault, ServedPolicy

__all__ = ["Json", "PolicyFault", "ServedPolicy"]
