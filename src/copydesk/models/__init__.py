"""Causal language models: loading and downloading."""

from typing import TYPE_CHECKING

__all__ = [
    "ModelInfo",
    "download_model",
    "load_model",
]

if TYPE_CHECKING:
    from copydesk.models.download import download_model
    from copydesk.models.load import ModelInfo, load_model
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.models.download": ["download_model"],
            "copydesk.models.load": ["ModelInfo", "load_model"],
        },
    )
