"""The log: edit records, how they are kept in files, and what an edit costs."""

from typing import TYPE_CHECKING

__all__ = [
    "CostSummary",
    "EditCost",
    "EditRecord",
    "FieldMapping",
    "Message",
    "Redactor",
    "RepeatTrimmer",
    "load_log",
    "read_jsonl",
    "summarize_costs",
    "trim_repeats",
    "write_jsonl",
]

if TYPE_CHECKING:
    from copydesk.data.cost import CostSummary, EditCost, summarize_costs
    from copydesk.data.jsonl import load_log, read_jsonl, write_jsonl
    from copydesk.data.mapping import FieldMapping
    from copydesk.data.record import EditRecord, Message
    from copydesk.data.redact import Redactor
    from copydesk.data.repetition import RepeatTrimmer, trim_repeats
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.data.cost": ["CostSummary", "EditCost", "summarize_costs"],
            "copydesk.data.jsonl": ["load_log", "read_jsonl", "write_jsonl"],
            "copydesk.data.mapping": ["FieldMapping"],
            "copydesk.data.record": ["EditRecord", "Message"],
            "copydesk.data.redact": ["Redactor"],
            "copydesk.data.repetition": ["RepeatTrimmer", "trim_repeats"],
        },
    )
