"""The embedded model: a tiny Llama of our own that ships in the wheel, so the whole loop runs with no download."""

from pathlib import Path

__all__ = ["NAME", "path"]

NAME = "embedded"
"""The word that names this model wherever a model is asked for."""


def path() -> Path:
    """The folder that holds the embedded model and its tokenizer, in the ordinary Transformers layout."""
    return Path(__file__).parent / "model"
