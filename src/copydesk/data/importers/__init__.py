"""Importers: rows of files, data sets, products and git histories, one entry of `IMPORTERS` each."""

from typing import TYPE_CHECKING

__all__ = [
    "IMPORTERS",
    "ImportFormat",
    "ImportSource",
    "Importer",
    "MappingOptions",
    "SourceRow",
    "build_git_source",
    "build_importer_options",
    "build_langfuse_source",
    "build_openai_source",
    "build_tensorzero_source",
    "choose_mapping",
    "guess_format",
    "open_dataset_source",
    "open_import_source",
    "open_row_source",
]

if TYPE_CHECKING:
    from copydesk.data.importers.base import Importer, ImportSource, SourceRow
    from copydesk.data.importers.files import ImportFormat, guess_format, open_row_source
    from copydesk.data.importers.git_edits import build_git_source
    from copydesk.data.importers.langfuse import build_langfuse_source
    from copydesk.data.importers.openai_chat import build_openai_source
    from copydesk.data.importers.registry import (
        IMPORTERS,
        MappingOptions,
        build_importer_options,
        choose_mapping,
        open_import_source,
    )
    from copydesk.data.importers.tables import open_dataset_source
    from copydesk.data.importers.tensorzero import build_tensorzero_source
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.data.importers.base": ["ImportSource", "Importer", "SourceRow"],
            "copydesk.data.importers.files": ["ImportFormat", "guess_format", "open_row_source"],
            "copydesk.data.importers.git_edits": ["build_git_source"],
            "copydesk.data.importers.langfuse": ["build_langfuse_source"],
            "copydesk.data.importers.openai_chat": ["build_openai_source"],
            "copydesk.data.importers.registry": [
                "IMPORTERS",
                "MappingOptions",
                "build_importer_options",
                "choose_mapping",
                "open_import_source",
            ],
            "copydesk.data.importers.tables": ["open_dataset_source"],
            "copydesk.data.importers.tensorzero": ["build_tensorzero_source"],
        },
    )
