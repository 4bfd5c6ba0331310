"""The log in the formats others know: JSON Lines, Parquet, and the sets that TRL trains on."""

from copydesk.log.exports.export import ExportFormat, check_export_target, export_records
from copydesk.log.exports.exported import ExportResult
from copydesk.log.exports.filters import RecordFilter, filter_records
from copydesk.log.exports.sets import DatasetForm

__all__ = [
    "ExportResult",
    "RecordFilter",
    "DatasetForm",
    "ExportFormat",
    "check_export_target",
    "filter_records",
    "export_records",
]
