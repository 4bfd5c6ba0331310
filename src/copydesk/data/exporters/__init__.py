"""Exporters: the log as JSON Lines, as Parquet, or as a data set for TRL."""

from copydesk.data.exporters.export import ExportFormat, check_export_target, export_records
from copydesk.data.exporters.filters import ExportResult, RecordFilter, filter_records
from copydesk.data.exporters.trl import DatasetForm

__all__ = [
    "DatasetForm",
    "ExportFormat",
    "ExportResult",
    "RecordFilter",
    "check_export_target",
    "export_records",
    "filter_records",
]
