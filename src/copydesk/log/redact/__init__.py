"""Personal data and keys in a log: numbered placeholders in their place, the same one throughout a row."""

from copydesk.log.redact.kinds import REDACTION_KINDS, RedactionKind
from copydesk.log.redact.redactor import Redactor

__all__ = ["REDACTION_KINDS", "RedactionKind", "Redactor"]
