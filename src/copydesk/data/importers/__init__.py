"""Sources of rows to import: files, data sets, other products and git histories."""

from typing import TYPE_CHECKING

__all__ = [
    "ImportFormat",
    "ImportSource",
    "SourceRow",
    "build_git_source",
    "build_langfuse_source",
    "build_openai_source",
    "build_tensorzero_source",
    "guess_format",
    "open_dataset_source",
    "open_row_source",
]

if TYPE_CHECKING:
    from copydesk.data.importers.base import ImportSource, SourceRow
    from copydesk.data.importers.files import ImportFormat, guess_format, open_row_source
    from copydesk.data.importers.git_edits import build_git_source
    from copydesk.data.importers.langfuse import build_langfuse_source
    from copydesk.data.importers.openai_chat import build_openai_source
    from copydesk.data.importers.tables import open_dataset_source
    from copydesk.data.importers.tensorzero import build_tensorzero_source
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.data.importers.base": ["ImportSource", "SourceRow"],
            "copydesk.data.importers.files": ["ImportFormat", "guess_format", "open_row_source"],
            "copydesk.data.importers.git_edits": ["build_git_source"],
            "copydesk.data.importers.langfuse": ["build_langfuse_source"],
            "copydesk.data.importers.openai_chat": ["build_openai_source"],
            "copydesk.data.importers.tables": ["open_dataset_source"],
            "copydesk.data.importers.tensorzero": ["build_tensorzero_source"],
        },
    )
