"""The log in the formats others know: JSON Lines, Parquet, and the sets that TRL trains on."""

from copydesk.log.exports.export import Format, check_target, export
from copydesk.log.exports.exported import Exported
from copydesk.log.exports.filters import Filter, chosen
from copydesk.log.exports.sets import Form

__all__ = ["Exported", "Filter", "Form", "Format", "check_target", "chosen", "export"]
