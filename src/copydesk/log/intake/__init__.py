"""Taking in logs of other shapes: rows become records, get their cost, and go into the store; bad ones beside it."""

from copydesk.log.intake.intake import ImportResult, import_rows

__all__ = ["ImportResult", "import_rows"]
