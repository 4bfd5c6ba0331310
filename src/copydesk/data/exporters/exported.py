"""What an export came to."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ExportResult:
    """Counts, filled while an export runs.

    Attributes:
        rows: written; a KTO set has two for a record that was changed.
        records: that went out.
        left_out: records that did not, by why.
        cut_messages: records in a set whose messages have more than role and content, which did not go out.
    """

    rows: int = 0
    records: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    cut_messages: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.__dict__, "left_out": dict(self.left_out)}
