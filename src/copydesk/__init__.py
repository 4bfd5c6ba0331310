"""Copydesk turns the edits people already make to an LLM's output into a better model."""

from importlib.metadata import version

from copydesk.client import Client
from copydesk.errors import InputError

__version__ = version("copydesk")
__all__ = ["Client", "InputError", "__version__"]
